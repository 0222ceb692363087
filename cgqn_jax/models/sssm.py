"""sSSM: a stochastic state-space model that predicts in its latent space.

The paper's stochastic baseline with a latent per frame (section 4.1), after
Buesing et al. 2018 and two public builds of it, without actions. A state s and
a latent z lead to the next state; frames are decoded from states, so what is
not asked for need not be decoded. In training z always comes from the
posterior, which sees the frame's encoding.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cgqn_jax.models import densities
from cgqn_jax.models.layers import (
  Conv,
  depth_to_space,
  scale,
  scan,
  space_to_depth,
)
from cgqn_jax.models.model import flatten, repeat
from cgqn_jax.models.sequential import Noise, Stage, pick
from cgqn_jax.types import Array, Normal

GRID = 8  # of the state, whatever the frame's size


class Stack(nn.Module):
  """Three convolutions, the second one residual; the last one is linear.

  layers: (size, features) of each.
  """

  layers: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
  cpu: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    first, second, third = (
      Conv(features, k, cpu=self.cpu) for k, features in self.layers
    )
    x = nn.relu(first(x))
    x = nn.relu(x + second(x))
    return third(x)


class Head(nn.Module):
  """A normal over latent maps: a stack for its mean, one for its variance."""

  hidden: int
  latent: int
  cpu: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Normal:
    layers = ((1, self.hidden), (3, self.hidden), (3, self.latent))
    return densities.normal(
      Stack(layers, self.cpu, name='mean')(x),
      Stack(layers, self.cpu, name='log_variance')(x),
    )


class Branch(nn.Module):
  """The residual that a transition adds to the state, [..., h, w, features].

  It starts at 0 (choice): else a state grows with every step of a video, and
  the first update's KL is 1e5 to 1e9 nats.
  """

  hidden: int
  features: int
  cpu: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = nn.relu(Conv(self.hidden, 3, cpu=self.cpu)(x))
    x = nn.relu(Conv(self.hidden, 5, cpu=self.cpu)(x))
    return Conv(self.features, 3, nn.initializers.zeros_init(), self.cpu)(x)


class Transition(nn.Module):
  """s, z -> the next state. What rests, rests: both branches start from s."""

  hidden: int
  features: int
  cpu: bool = True

  @nn.compact
  def __call__(self, s: Array, z: Array) -> Array:
    x = jnp.concatenate([s, z], axis=-1)
    x = nn.relu(s + Branch(self.hidden, self.features, self.cpu)(x))
    # Pool and inject: each cell hears of the whole map.
    pooled = jnp.max(
      Conv(self.hidden, 3, cpu=self.cpu)(x), axis=(1, 2), keepdims=True
    )
    pooled = jnp.broadcast_to(pooled, x.shape[:-1] + pooled.shape[-1:])
    x = jnp.concatenate([x, pooled], axis=-1)
    return s + Branch(self.hidden, self.features, self.cpu)(x)


class SSSMNetworks(nn.Module):
  """Encoder, state space and decoder under one tree of parameters.

  width multiplies all channels but Z, which is `latent`. At most `max_context`
  frames start a state.
  """

  frame_size: int
  num_frames: int
  max_context: int
  width: float
  latent: int
  cpu: bool = True

  @property
  def latent_shape(self) -> tuple[int, int, int, int]:
    """(N - 1, h, w, Z): frame t > 0 has the noise t - 1."""
    return (self.num_frames - 1, GRID, GRID, self.latent)

  def setup(self) -> None:
    c16, c32, c64 = (scale(c, self.width) for c in (16, 32, 64))
    stride = self.frame_size // (2 * GRID)
    self.encode_fine = Stack(((3, c16), (5, c16), (3, c64)), self.cpu)
    self.encode_coarse = Stack(((3, c32), (5, c32), (3, c64)), self.cpu)
    self.start = Stack(((1, c64), (3, c64), (3, c64)), self.cpu)
    self.prior = Head(c32, self.latent, self.cpu)
    self.posterior = Head(c32, self.latent, self.cpu)
    self.transition = Transition(c32, c64, self.cpu)
    self.decode_coarse = Stack(((1, c32), (5, c32), (3, 4 * c16)), self.cpu)
    self.decode_fine = Stack(((3, c64), (3, c64), (1, 3 * stride**2)), self.cpu)

  def encode(self, frames: Array) -> Array:
    """[..., H, W, 3] -> [..., h, w, R]."""
    x = space_to_depth(frames, self.frame_size // (2 * GRID))
    x = space_to_depth(self.encode_fine(x), 2)
    return nn.relu(self.encode_coarse(x))

  def first_state(self, encoded: Array) -> Array:
    """Encodings of frames 0 .. C - 1, [B, C, h, w, R] -> state C - 1.

    Slots without a frame are 0, and so is their mark.
    """
    count = encoded.shape[1]
    if count > self.max_context:
      raise ValueError(
        f'{count} context frames; this sssm starts from at most '
        f'{self.max_context} (model.max_context)'
      )
    marked = jnp.concatenate(
      [encoded, jnp.ones_like(encoded[..., :1])], axis=-1
    )
    slots = ((0, 0), (0, self.max_context - count)) + ((0, 0),) * 3
    x = jnp.moveaxis(jnp.pad(marked, slots), 1, -2)
    return self.start(x.reshape(x.shape[:-2] + (-1,)))

  def decode(self, s: Array, z: Array) -> Array:
    """[..., h, w, .] -> [..., H, W, 3], linear."""
    x = self.decode_coarse(jnp.concatenate([s, z], axis=-1))
    x = self.decode_fine(depth_to_space(x, 2))
    return depth_to_space(x, self.frame_size // (2 * GRID))

  def bound(
    self, video: Array, num_context: int, noise: Noise, stage: Stage
  ) -> tuple[Array, Array, Normal, Normal]:
    """One posterior draw: the targets decoded, z [B, T, h, w, Z], q, p."""
    del stage  # nothing is fed back, and z is never the prior's in training
    encoded = self.encode(video)
    s = self.first_state(encoded[:, :num_context])

    def step(self: 'SSSMNetworks', s: Array, encoded: Array, eps: Array):
      p = self.prior(s)
      seen = [p.mean, jnp.exp(p.log_std), s, encoded]
      q = self.posterior(jnp.concatenate(seen, axis=-1))
      z = densities.sample(q, eps)
      s = self.transition(s, z)
      return s, (s, z, q, p)

    steps = scan(step, in_axes=1, out_axes=1)
    eps = noise.latent[:, num_context - 1 :]
    _, (s, z, q, p) = steps(self, s, encoded[:, num_context:], eps)
    return self.decode(s, z), z, q, p

  def sample(self, context: Array, noise: Array, index: Array) -> Array:
    """Futures [S, B, T, H, W, 3]; only what is asked for is decoded."""
    samples, batch = noise.shape[:2]
    s = self.first_state(self.encode(context))
    eps = flatten(noise[:, :, context.shape[1] - 1 :])

    def step(self: 'SSSMNetworks', s: Array, eps: Array):
      z = densities.sample(self.prior(s), eps)
      s = self.transition(s, z)
      return s, (s, z)

    steps = scan(step, in_axes=1, out_axes=1)
    _, path = steps(self, repeat(s, samples), eps)
    index = repeat(index, samples)
    s, z = jax.tree.map(lambda x: pick(x, index), path)
    frames = self.decode(s, z)
    return frames.reshape((samples, batch) + frames.shape[1:])
