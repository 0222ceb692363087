"""Convolutional DRAW: conditional prior and posterior (paper, appendix B).

At every step the prior's LSTM moves first, so that already p_1 sees the
context; its hidden state is fed to the posterior's. Noise comes in as an
array, so both passes are pure functions without a random key.

Its leading axes [...] say how many latents there are: samples and scenes, for
GQN targets too. The other inputs have as many axes and are broadcast, so what
samples or targets share is convolved once.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cgqn_jax.models import densities
from cgqn_jax.models.layers import ConvLSTM, PatchConv, RecurrentConv, scan
from cgqn_jax.types import Array, Normal

_STEPS = -4  # the axis of K in [..., K, h, w, Z]


class _Weights(NamedTuple):
  """What is the same in every step of one of the two nets."""

  static: Array
  recurrent: Array
  head: Array


class ConvDraw(nn.Module):
  """P_phi(z | r) and Q_psi(z | r, r'), K steps with shared weights.

  Fields are named as in the paper's table: hidden is nf_to_hidden, encoding
  nf_enc, latent nf_z, stride stride_to_hidden. With view_features, both nets
  also see a query [..., V] (GQN).
  """

  hidden: int
  encoding: int
  latent: int
  stride: int
  kernel: int
  posterior_sees_prior: bool
  view_features: int = 0
  cpu: bool = True

  def setup(self) -> None:
    static = self.encoding + self.view_features
    fed = self.hidden if self.posterior_sees_prior else 0
    self.prior_projection = PatchConv(self.encoding, self.stride)
    self.prior_lstm = ConvLSTM(
      self.hidden, static, self.latent, self.kernel, self.cpu
    )
    self.prior_head = RecurrentConv(
      self.hidden, 2 * self.latent, self.kernel, self.cpu
    )
    self.posterior_projection = PatchConv(self.encoding, self.stride)
    self.posterior_lstm = ConvLSTM(
      self.hidden, static, self.latent + fed, self.kernel, self.cpu
    )
    self.posterior_head = RecurrentConv(
      self.hidden, 2 * self.latent, self.kernel, self.cpu
    )

  def sample_prior(
    self, r: Array, noise: Array, views: Array | None = None
  ) -> Array:
    """r [..., H/4, W/4, R], noise [..., K, h, w, Z] -> z like the noise."""
    prior = self._prior(r, views, noise)

    def step(self: 'ConvDraw', carry: tuple, eps: Array, prior: _Weights):
      state, z = carry
      state = self.prior_lstm(state, z, prior.static, prior.recurrent)
      head = self.prior_head(state[0], prior.head)
      z = densities.sample(densities.from_head(head), eps)
      return (state, z), z

    noise = jnp.moveaxis(noise, _STEPS, 0)
    state = self.prior_lstm.initial_carry(noise.shape[1:-1])
    carry = (state, jnp.zeros_like(noise[0]))
    z = scan(step, in_axes=(0, nn.broadcast))(self, carry, noise, prior)[1]
    return jnp.moveaxis(z, 0, _STEPS)

  def infer(
    self,
    r: Array,
    r_target: Array,
    noise: Array,
    views: Array | None = None,
  ) -> tuple[Array, Normal, Normal]:
    """Draws z from the posterior and returns it with both densities.

    Args:
      r: [..., H/4, W/4, R] sum of the context's representations.
      r_target: the same of the targets.
      noise: [..., K, h, w, Z] standard normal.
      views: [..., V] queries, which the nets see only with view_features.

    Returns:
      z [..., K, h, w, Z] and the normals q_k, p_k of every step, both given
      the same z_<k ~ q.
    """
    prior = self._prior(r, views, noise)
    r = jnp.broadcast_to(r, r_target.shape)
    posterior = self._weights(
      self.posterior_lstm,
      self.posterior_head,
      self.posterior_projection(jnp.concatenate([r, r_target], axis=-1)),
      views,
      noise,
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
      q = densities.from_head(self.posterior_head(q_state[0], posterior.head))
      z = densities.sample(q, eps)
      return (p_state, q_state, z), (z, q, p_state[0])

    noise = jnp.moveaxis(noise, _STEPS, 0)
    state = self.prior_lstm.initial_carry(noise.shape[1:-1])
    carry = (state, state, jnp.zeros_like(noise[0]))
    steps = scan(step, in_axes=(0, nn.broadcast, nn.broadcast))
    _, (z, q, hidden) = steps(self, carry, noise, prior, posterior)
    # No step waits for the prior's densities: all at once.
    p = densities.from_head(self.prior_head(hidden, prior.head))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, _STEPS), (z, q, p))

  def _prior(self, r: Array, views: Array | None, noise: Array) -> _Weights:
    inputs = self.prior_projection(r)
    return self._weights(self.prior_lstm, self.prior_head, inputs, views, noise)

  def _weights(
    self,
    lstm: ConvLSTM,
    head: RecurrentConv,
    inputs: Array,
    views: Array | None,
    noise: Array,
  ) -> _Weights:
    """A net's weights for all steps; inputs [..., h, w, E] are constant."""
    grid = noise.shape[-3:-1]
    maps = math.prod(noise.shape[:_STEPS])
    static = lstm.static_gates(inputs)
    if self.view_features:
      static = static + lstm.view_gates(views, *grid)
    return _Weights(
      static=static,
      recurrent=lstm.recurrent_operator(*grid, maps),
      head=head.operator(*grid, maps),
    )
