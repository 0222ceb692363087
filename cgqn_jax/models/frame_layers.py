"""Layers of the sequential baselines, and how they answer queries.

No section of the paper. Those of CDNA and SV2P follow the code released with
them, in `tensorflow/models` and `tensor2tensor`; those of sSSM Buesing et al.
2018. Strided convolutions and their transposes are written as one matrix
product each: their gradients inside a scan are slow on CPUs otherwise (see
`convolutions.py`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cgqn_jax.models.gaussian import LOG_VARIANCE_RANGE
from cgqn_jax.models.layers import KERNEL_INIT, add_bias
from cgqn_jax.types import Array, Normal


def scale(channels: int, width: float) -> int:
  """A layer's channels at another width: even, so that sizes can be matched."""
  return max(2, 2 * round(channels * width / 2))


class FrameNorm(nn.Module):
  """Layer norm over H, W and C with a gain and an offset a channel.

  Flax's default norms over the channels alone: another layer.
  """

  @nn.compact
  def __call__(self, x: Array) -> Array:
    return nn.LayerNorm(
      epsilon=1e-6, reduction_axes=(-3, -2, -1), feature_axes=-1
    )(x)


class StridedConv(nn.Module):
  """SAME convolution of stride 2: [..., 2 h, 2 w, I] -> [..., h, w, O]."""

  features: int
  size: int
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    height, width = x.shape[-3:-1]
    before = (self.size - 2) // 2
    pad = (before, self.size - 2 - before)
    x = jnp.pad(x, ((0, 0),) * (x.ndim - 3) + (pad, pad, (0, 0)))
    patches = jnp.concatenate(
      [
        x[..., i : i + height : 2, j : j + width : 2, :]
        for i in range(self.size)
        for j in range(self.size)
      ],
      axis=-1,
    )
    return nn.Dense(
      self.features, use_bias=self.use_bias, kernel_init=KERNEL_INIT
    )(patches)


class TransposedConv(nn.Module):
  """The transpose of a 3x3 `StridedConv`: [..., h, w, I] -> [..., 2 h, 2 w, O].

  Of just that one, padding and all, so a map that went down and up again is
  not shifted by a pixel.
  """

  features: int
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    # Every output sums over 9 / 4 taps in the mean.
    init = nn.initializers.variance_scaling(4 / 9, 'fan_in', 'normal')
    taps = nn.Dense(9 * self.features, use_bias=False, kernel_init=init)(x)
    taps = taps.reshape(x.shape[:-1] + (3, 3, self.features))
    # Input cell i reaches the outputs 2 i, 2 i + 1 and 2 i + 2.
    rows = _overlap(taps, cells=-5, offsets=-3)
    image = _overlap(rows, cells=-4, offsets=-2)
    height, width = x.shape[-3:-1]
    image = jnp.swapaxes(image, -4, -3)
    image = image.reshape(x.shape[:-3] + (2 * height, 2 * width, self.features))
    if not self.use_bias:
      return image
    zeros = nn.initializers.zeros_init()
    return add_bias(image, self.param('bias', zeros, (self.features,)))


def _overlap(taps: Array, cells: int, offsets: int) -> Array:
  """Adds offset 2 of each cell to offset 0 of the next: 3 offsets -> 2."""
  first, second, third = jnp.split(taps, 3, axis=offsets)
  pad = [(0, 0)] * taps.ndim
  pad[cells] = (1, 0)
  third = jnp.pad(third, pad)
  third = jax.lax.slice_in_dim(
    third, 0, taps.shape[cells], axis=taps.ndim + cells
  )
  return jnp.concatenate([first + third, second], axis=offsets)


def space_to_depth(x: Array, s: int) -> Array:
  """[..., h s, w s, I] -> [..., h, w, s s I]."""
  height, width, channels = x.shape[-3:]
  x = x.reshape(x.shape[:-3] + (height // s, s, width // s, s, channels))
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape(x.shape[:-3] + (s * s * channels,))


def depth_to_space(x: Array, s: int) -> Array:
  """The inverse: [..., h, w, s s I] -> [..., h s, w s, I]."""
  height, width, channels = x.shape[-3:]
  x = x.reshape(x.shape[:-1] + (s, s, channels // (s * s)))
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape(x.shape[:-5] + (height * s, width * s, channels // (s * s)))


def normal(mean: Array, log_variance: Array) -> Normal:
  """A normal from its two heads, the log-variance within the usual range.

  The gradient passes the bounds: while the KL is not charged yet nothing holds
  a log-variance back, and one that has crossed a bound must come back later.
  """
  clipped = jnp.clip(log_variance, *LOG_VARIANCE_RANGE)
  return Normal(
    mean, (log_variance + jax.lax.stop_gradient(clipped - log_variance)) / 2
  )


def frame_index(views: Array, num_frames: int) -> Array:
  """Timestamps [..., 1] in [0, 1] -> frame numbers [...]."""
  return jnp.round(views[..., 0] * (num_frames - 1)).astype(jnp.int32)


def pick(x: Array, index: Array) -> Array:
  """x [B, n, ...] and index [B, T] -> [B, T, ...]: NaN past the end."""
  take = jax.vmap(lambda x, i: jnp.take(x, i, axis=0, mode='fill'))
  return take(x, jnp.maximum(index, 0))


def answer(context: Array, index: Array, predicted: Array) -> Array:
  """Puts what was given where it was asked for.

  Args:
    context: [B, C, H, W, 3].
    index: [B, T] frame numbers.
    predicted: [S, B, T, H, W, 3].
  """
  last = context.shape[1] - 1
  given = pick(context, jnp.minimum(index, last))[None]
  asked = jnp.expand_dims(index <= last, (0, -1, -2, -3))
  return jnp.where(asked, given, predicted)
