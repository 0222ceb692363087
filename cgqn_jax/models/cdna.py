"""CDNA: the next frame as a masked sum of moved copies of the last one.

The paper's deterministic baseline (section 4.1): Finn, Goodfellow and Levine
2016, without actions and states. Ten small kernels a frame move the last frame;
masks choose, pixel by pixel, among the moved copies, the last frame itself and
newly painted pixels. Differs from the released code where that errs: all ten
kernels have a mask, and the heads of the masks and new pixels are linear.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from cgqn_jax.models.convolutions import taps
from cgqn_jax.models.layers import (
  ConvLSTM,
  FrameNorm,
  StridedConv,
  TransposedConv,
  scale,
  scan,
)
from cgqn_jax.models.sequential import Noise, Stage, pick
from cgqn_jax.types import Array, Normal

# What keeps a kernel's sum from zero.
_SHIFT = 1e-12


class Predictor(nn.Module):
  """A frame, a latent and the states of seven LSTMs -> the next frame.

  width multiplies all channels. Kernels are `kernel_size` squared (odd); those
  larger than 5x5, which the paper's baseline has not, are made from the mean
  of the bottleneck, else their layer would outweigh all others.
  """

  width: float
  kernel_size: int
  num_kernels: int
  cpu: bool = True

  def setup(self) -> None:
    c32, c64, c96, c128 = (scale(c, self.width) for c in (32, 64, 96, 128))
    inputs = (c32, c32, c32, c64, c64, c128, c96)
    features = (c32, c32, c64, c64, c128, c64, c32)
    self.lstms = [
      ConvLSTM(out, 0, into, 5, self.cpu)
      for into, out in zip(inputs, features, strict=True)
    ]
    self.norms = [FrameNorm() for _ in features]
    self.first = StridedConv(c32, 5, use_bias=False)
    self.first_norm = FrameNorm()
    self.down = [StridedConv(c32, 3), StridedConv(c64, 3)]
    self.mix = nn.Dense(c64)
    self.up = [TransposedConv(c128), TransposedConv(c96)]
    self.last = TransposedConv(c64, use_bias=False)
    self.last_norm = FrameNorm()
    self.paint = nn.Dense(3)
    self.masks = nn.Dense(2 + self.num_kernels)
    self.kernels = nn.Dense(self.kernel_size**2 * self.num_kernels)

  def roll(self, truth: Array, feed: Array, z: Array) -> Array:
    """Predicts frames 1 .. n from frames 0 .. n - 1, one after the other.

    Args:
      truth: [B, n, H, W, 3] true frames 0 .. n - 1.
      feed: [B, n] bool, whether a step is fed the true frame or the one that
        the step before made.
      z: [B, n, H/8, W/8, Z] what a step knows besides; Z may be 0.

    Returns:
      [B, n, H, W, 3] in [0, 1].
    """
    batch, _, height, width = truth.shape[:4]
    grids = [
      (height // stride, width // stride) for stride in (2, 2, 4, 4, 8, 4, 2)
    ]
    cells = [
      (
        jnp.expand_dims(lstm.bias, (0, 1, 2)),
        lstm.recurrent_operator(*grid, batch),
      )
      for lstm, grid in zip(self.lstms, grids, strict=True)
    ]
    states = [
      lstm.initial_carry((batch, *grid))
      for lstm, grid in zip(self.lstms, grids, strict=True)
    ]

    def step(
      self: 'Predictor',
      carry: tuple,
      truth: Array,
      feed: Array,
      z: Array,
      cells: list,
    ):
      states, own = carry
      frame = jnp.where(jnp.expand_dims(feed, (1, 2, 3)), truth, own)
      states, frame = self.predict(states, frame, z, cells)
      return (states, frame), frame

    steps = scan(step, in_axes=(1, 1, 1, nn.broadcast), out_axes=1)
    carry = (states, jnp.zeros_like(truth[:, 0]))
    return steps(self, carry, truth, feed, z, cells)[1]

  def predict(
    self, states: list, frame: Array, z: Array, cells: list
  ) -> tuple[list, Array]:
    """One step; the layers are numbered in the order of the data's way."""
    after = list(states)

    def lstm(i: int, x: Array) -> Array:
      after[i] = self.lstms[i](states[i], x, *cells[i])
      return self.norms[i](after[i][0])

    half = nn.relu(self.first_norm(self.first(frame)))
    quarter = nn.relu(self.down[0](lstm(1, lstm(0, half))))
    x = nn.relu(self.down[1](lstm(3, lstm(2, quarter))))
    x = nn.relu(self.mix(jnp.concatenate([x, z], axis=-1)))
    bottleneck = lstm(4, x)
    x = lstm(5, nn.relu(self.up[0](bottleneck)))
    x = nn.relu(self.up[1](jnp.concatenate([x, quarter], axis=-1)))
    x = jnp.concatenate([lstm(6, x), half], axis=-1)
    x = nn.relu(self.last_norm(self.last(x)))
    masks = nn.softmax(self.masks(x))
    painted = nn.sigmoid(self.paint(x))
    moved = move(frame, self.make_kernels(bottleneck), masks[..., 2:])
    return after, masks[..., :1] * frame + masks[..., 1:2] * painted + moved

  def make_kernels(self, bottleneck: Array) -> Array:
    """[B, h, w, F] -> [B, taps, K], of which each K sums to 1 over the taps."""
    if self.kernel_size > 5:
      bottleneck = jnp.mean(bottleneck, axis=(1, 2))
    flat = bottleneck.reshape((bottleneck.shape[0], -1))
    kernels = nn.relu(self.kernels(flat) - _SHIFT) + _SHIFT
    kernels = kernels.reshape((-1, self.kernel_size**2, self.num_kernels))
    return kernels / jnp.sum(kernels, axis=1, keepdims=True)


def move(frame: Array, kernels: Array, masks: Array) -> Array:
  """sum_k masks_k (kernel_k * frame), with zeros around the frame.

  The kernels of a pixel are summed first, so that no moved copy is made.

  Args:
    frame: [B, H, W, 3].
    kernels: [B, taps, K], the taps row by row.
    masks: [B, H, W, K].
  """
  size = math.isqrt(kernels.shape[1])
  pixel = jnp.einsum('bhwk,bsk->bhws', masks, kernels)
  shifted = jnp.stack(taps(frame, size), axis=-2)
  return jnp.einsum('bhws,bhwsc->bhwc', pixel, shifted)


def fed_truth(coin: Array, num_context: int, probability: Array) -> Array:
  """[B, N - 1] bool: context frames always, later ones by chance."""
  context = jnp.arange(coin.shape[1]) < num_context
  return context[None] | (coin < probability)


def roll_out(predictor: Predictor, context: Array, z: Array) -> Array:
  """Frames C .. n from frames 0 .. C - 1, on the predictor's own predictions.

  context [B, C, H, W, 3], z [B, n, h, w, Z].
  """
  count, steps = context.shape[1], z.shape[1]
  extra = ((0, 0), (0, max(0, steps - count))) + ((0, 0),) * 3
  truth = jnp.pad(context, extra)[:, :steps]
  feed = jnp.broadcast_to(jnp.arange(steps) < count, truth.shape[:2])
  return predictor.roll(truth, feed, z)[:, count - 1 :]


class CDNANetworks(nn.Module):
  """All of CDNA; nothing is drawn, so its latent is a constant."""

  frame_size: int
  num_frames: int
  width: float
  kernel_size: int
  num_kernels: int
  cpu: bool = True

  @property
  def latent_shape(self) -> tuple[int, int, int, int]:
    """The shape of a latent that says nothing: the bound's KL is then 0."""
    return (1, 1, 1, 1)

  def setup(self) -> None:
    self.predictor = Predictor(
      self.width, self.kernel_size, self.num_kernels, self.cpu
    )

  def bound(
    self, video: Array, num_context: int, noise: Noise, stage: Stage
  ) -> tuple[Array, Array, Normal, Normal]:
    """The targets predicted, and the latent that says nothing."""
    feed = fed_truth(noise.coin, num_context, stage.truth)
    frames = self.predictor.roll(
      video[:, :-1], feed, self._no_latent(*feed.shape)
    )
    nothing = jnp.zeros_like(noise.latent)
    same = Normal(nothing, nothing)
    return frames[:, num_context - 1 :], nothing, same, same

  def sample(self, context: Array, noise: Array, index: Array) -> Array:
    """One future for all samples, [1, B, T, H, W, 3]; see `Sequential`."""
    del noise
    batch, count = context.shape[:2]
    z = self._no_latent(batch, max(count, self.num_frames - 1))
    return pick(roll_out(self.predictor, context, z), index)[None]

  def _no_latent(self, batch: int, steps: int) -> Array:
    grid = self.frame_size // 8
    return jnp.zeros((batch, steps, grid, grid, 0))
