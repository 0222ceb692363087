"""Convolutional DRAW: conditional prior and posterior (paper, appendix B).

At every step the prior's LSTM moves first, so that already p_1 sees the
context; its hidden state is fed to the posterior's. Noise comes in as an
array, so both passes are pure functions without a random key.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from cgqn_jax import gaussian
from cgqn_jax.layers import ConvLSTM, PatchConv, RecurrentConv
from cgqn_jax.types import Array, Normal


class _Weights(NamedTuple):
  """What is the same in every step of one of the two nets."""

  static: Array
  recurrent: Array
  head: Array


class ConvDraw(nn.Module):
  """P_phi(z | r) and Q_psi(z | r, r'), K steps with shared weights.

  Fields are named as in the paper's table: hidden is nf_to_hidden, encoding
  nf_enc, latent nf_z, stride stride_to_hidden.
  """

  hidden: int
  encoding: int
  latent: int
  stride: int
  kernel: int
  posterior_sees_prior: bool

  def setup(self) -> None:
    self.prior_projection = PatchConv(self.encoding, self.stride)
    self.prior_lstm = ConvLSTM(
      self.hidden, self.encoding, self.latent, self.kernel
    )
    self.prior_head = RecurrentConv(self.hidden, 2 * self.latent, self.kernel)
    fed = self.hidden if self.posterior_sees_prior else 0
    self.posterior_projection = PatchConv(self.encoding, self.stride)
    self.posterior_lstm = ConvLSTM(
      self.hidden, self.encoding, self.latent + fed, self.kernel
    )
    self.posterior_head = RecurrentConv(
      self.hidden, 2 * self.latent, self.kernel
    )

  def sample_prior(self, r: Array, noise: Array) -> Array:
    """r [B, H/4, W/4, R], noise [B, K, h, w, Z] -> z [B, K, h, w, Z]."""
    grid = noise.shape[2:4]
    prior = _weights(
      self.prior_lstm, self.prior_head, self.prior_projection(r), grid
    )

    def step(self: 'ConvDraw', carry: tuple, eps: Array, prior: _Weights):
      state, z = carry
      state = self.prior_lstm(state, z, prior.static, prior.recurrent)
      head = self.prior_head(state[0], prior.head)
      z = gaussian.sample(gaussian.from_head(head), eps)
      return (state, z), z

    carry = (self._zero_state(noise), jnp.zeros_like(noise[:, 0]))
    return _over_steps(step, broadcast=1)(self, carry, noise, prior)[1]

  def infer(
    self, r: Array, r_target: Array, noise: Array
  ) -> tuple[Array, Normal, Normal]:
    """Draws z from the posterior and returns it with both densities.

    Args:
      r: [B, H/4, W/4, R] sum of the context's representations.
      r_target: the same of the targets.
      noise: [B, K, h, w, Z] standard normal.

    Returns:
      z [B, K, h, w, Z] and the normals q_k, p_k of every step, both given
      the same z_<k ~ q.
    """
    grid = noise.shape[2:4]
    both = jnp.concatenate([r, r_target], axis=-1)
    prior = _weights(
      self.prior_lstm, self.prior_head, self.prior_projection(r), grid
    )
    posterior = _weights(
      self.posterior_lstm,
      self.posterior_head,
      self.posterior_projection(both),
      grid,
    )

    def step(
      self: 'ConvDraw',
      carry: tuple,
      eps: Array,
      prior: _Weights,
      posterior: _Weights,
    ):
      p_state, q_state, z = carry
      p_state = self.prior_lstm(p_state, z, prior.static, prior.recurrent)
      q_input = z
      if self.posterior_sees_prior:
        q_input = jnp.concatenate([z, p_state[0]], axis=-1)
      q_state = self.posterior_lstm(
        q_state, q_input, posterior.static, posterior.recurrent
      )
      q = gaussian.from_head(self.posterior_head(q_state[0], posterior.head))
      z = gaussian.sample(q, eps)
      return (p_state, q_state, z), (z, q, p_state[0])

    zeros = self._zero_state(noise)
    carry = (zeros, zeros, jnp.zeros_like(noise[:, 0]))
    scan = _over_steps(step, broadcast=2)
    _, (z, q, hidden) = scan(self, carry, noise, prior, posterior)
    # No step waits for the prior's densities: all at once.
    return z, q, gaussian.from_head(self.prior_head(hidden, prior.head))

  def _zero_state(self, noise: Array) -> tuple[Array, Array]:
    return self.prior_lstm.initial_carry((noise.shape[0], *noise.shape[2:4]))


def _weights(
  lstm: ConvLSTM, head: RecurrentConv, inputs: Array, grid: tuple[int, int]
) -> _Weights:
  """Of one net, whose constant inputs are [B, h, w, E]."""
  return _Weights(
    static=lstm.static_gates(inputs),
    recurrent=lstm.recurrent_operator(*grid),
    head=head.operator(*grid),
  )


def _over_steps(step: Callable, broadcast: int) -> Callable:
  """Scans `step` over axis 1 (K) of the noise; weights shared over steps."""
  return nn.scan(
    step,
    variable_broadcast='params',
    split_rngs={'params': False},
    in_axes=(1,) + (nn.broadcast,) * broadcast,
    out_axes=1,
  )
