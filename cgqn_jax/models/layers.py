"""The layers that all models share (paper, appendix B).

A convolution whose stride equals its kernel is a reshape and a matrix product,
and what does not change over the steps of a scan is convolved only once.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from cgqn_jax.models.convolutions import apply, convolve, operator, taps
from cgqn_jax.types import Array

KERNEL_INIT = nn.initializers.lecun_normal()

# Scans a step of a module whose weights are the same in all steps.
scan = functools.partial(
  nn.scan, variable_broadcast='params', split_rngs={'params': False}
)


def add_bias(x: Array, bias: Array) -> Array:
  """x [..., O] plus bias [O], the broadcast written out."""
  return x + jnp.expand_dims(bias, range(x.ndim - 1))


class Conv(nn.Module):
  """Stride-1 SAME convolution with bias on [..., h, w, I], in its dtype."""

  features: int
  size: int
  kernel_init: nn.initializers.Initializer = KERNEL_INIT
  cpu: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape)
    bias = self.param('bias', nn.initializers.zeros_init(), shape[-1:])
    kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
    return add_bias(convolve(x, kernel, self.cpu), bias)


class RecurrentConv(nn.Module):
  """Like `Conv`, with its operator precomputed outside a scan."""

  inputs: int
  features: int
  size: int
  cpu: bool = True

  def setup(self) -> None:
    shape = (self.size, self.size, self.inputs, self.features)
    self.kernel = self.param('kernel', KERNEL_INIT, shape)
    self.bias = self.param('bias', nn.initializers.zeros_init(), shape[-1:])

  def operator(self, height: int, width: int, maps: int) -> Array:
    """Makes what `__call__` takes, see `convolutions.operator`."""
    return operator(self.kernel, height, width, maps, self.cpu)

  def __call__(self, x: Array, operator: Array) -> Array:
    return add_bias(apply(x, operator), self.bias)


class PatchConv(nn.Module):
  """Convolution whose stride s is its kernel.

  [..., h s, w s, I] -> [..., h, w, O].
  """

  features: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    patches = space_to_depth(x, self.stride)
    return nn.Dense(self.features, kernel_init=KERNEL_INIT)(patches)


class PatchDeconv(nn.Module):
  """Transposed convolution whose stride s is its kernel.

  [..., h, w, I] -> [..., h s, w s, O].
  """

  features: int
  stride: int
  kernel_init: nn.initializers.Initializer = KERNEL_INIT

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (x.shape[-1], self.stride**2 * self.features)
    kernel = self.param('kernel', self.kernel_init, shape)
    bias = self.param('bias', nn.initializers.zeros_init(), (self.features,))
    return add_bias(depth_to_space(x @ kernel, self.stride), bias)


class ConvLSTM(nn.Module):
  """Convolutional LSTM whose constant inputs are convolved only once.

  One k x k convolution of [static ; inputs ; h] gives the four gates. What
  does not change over the steps (the context, a sampled z, a viewpoint) goes
  through `static_gates` once; `__call__` then convolves what does change.
  Both use slices of one kernel, so the parameters and the function are those
  of the plain cell.
  """

  features: int
  static_features: int
  input_features: int
  size: int
  cpu: bool = True

  def setup(self) -> None:
    channels = self.static_features + self.input_features + self.features
    self.kernel = self.param(
      'kernel',
      KERNEL_INIT,
      (self.size, self.size, channels, 4 * self.features),
    )
    self.bias = self.param(
      'bias', nn.initializers.zeros_init(), (4 * self.features,)
    )

  def static_gates(self, x: Array) -> Array:
    """Gates [..., h, w, 4 F] due to the first I static channels of x."""
    gates = convolve(x, self.kernel[:, :, : x.shape[-1]], self.cpu)
    return add_bias(gates, self.bias)

  def view_gates(self, views: Array, height: int, width: int) -> Array:
    """Gates [..., h, w, 4 F] due to views [..., V], the last static channels.

    A viewpoint is the same everywhere on the map, so its gates are a linear
    combination of V maps, whatever the number of queries.
    """
    last, width_v = self.static_features, views.shape[-1]
    basis = broadcast_view(jnp.eye(width_v), height, width)
    kernel = self.kernel[:, :, last - width_v : last]
    maps = convolve(basis, kernel, self.cpu)
    return jnp.einsum('...v,vhwg->...hwg', views, maps)

  def recurrent_operator(self, height: int, width: int, maps: int) -> Array:
    """The operator of [inputs ; h]: make it before the scan, see `operator`."""
    kernel = self.kernel[:, :, self.static_features :]
    return operator(kernel, height, width, maps, self.cpu)

  def initial_carry(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Zero (h, c) for maps [*shape, features]."""
    zeros = jnp.zeros(shape + (self.features,))
    return zeros, zeros

  def __call__(
    self,
    carry: tuple[Array, Array],
    inputs: Array,
    static: Array,
    recurrent: Array,
  ) -> tuple[Array, Array]:
    """One step (h, c), inputs -> (h, c).

    static: the gates of the static part; recurrent: `recurrent_operator`.
    """
    h, c = carry
    dynamic = jnp.concatenate([inputs, h], axis=-1)
    gates = static + apply(dynamic, recurrent)
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    # +1 on the forget gate: remember by default (not in the paper's table).
    c = nn.sigmoid(f + 1) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def embed_views(views: Array, frequencies: int) -> Array:
  """Appends sin and cos of 2^i pi v, i < frequencies, to views [..., V].

  0 frequencies, the paper's setting, returns the views as they are.
  """
  if not frequencies:
    return views
  scales = jnp.pi * 2.0 ** jnp.arange(frequencies, dtype=jnp.float32)
  angles = jnp.einsum('...v,f->...vf', views, scales)
  angles = angles.reshape(views.shape[:-1] + (-1,))
  return jnp.concatenate([views, jnp.sin(angles), jnp.cos(angles)], axis=-1)


def broadcast_view(view: Array, height: int, width: int) -> Array:
  """A viewpoint [..., V] repeated over a map: [..., height, width, V]."""
  view = view[..., None, None, :]
  return jnp.broadcast_to(
    view, view.shape[:-3] + (height, width, view.shape[-1])
  )


def view_gains(features: int, views: Array) -> Array:
  """Within a compact module: factors [..., 1, 1, features], around 1."""
  gains = nn.Dense(features, kernel_init=KERNEL_INIT, name='view_gains')(views)
  return 1 + gains[..., None, None, :]


# Layers of the sequential models: those of CDNA and SV2P follow the code that
# was released with them, those of sSSM Buesing et al. 2018. Strided
# convolutions and their transposes are one matrix product each, for their
# gradients inside a scan are slow on CPUs otherwise.


def scale(channels: int, width: float) -> int:
  """A layer's channels at another width: even, so that sizes can be matched."""
  return max(2, 2 * round(channels * width / 2))


class FrameNorm(nn.Module):
  """Layer norm over H, W and C with a gain and an offset per channel.

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
    patches = jnp.concatenate(taps(x, self.size, stride=2), axis=-1)
    return nn.Dense(
      self.features, use_bias=self.use_bias, kernel_init=KERNEL_INIT
    )(patches)


class TransposedConv(nn.Module):
  """The transpose of a 3x3 `StridedConv`: [..., h, w, I] -> [..., 2 h, 2 w, O].

  Padding and all, so a map that went down and up again is not shifted by a
  pixel.
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
    image = _interleaved(_overlap(rows, cells=-4, offsets=-2))
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
  return _interleaved(x.reshape(x.shape[:-1] + (s, s, x.shape[-1] // (s * s))))


def _interleaved(x: Array) -> Array:
  """[..., h, w, s, s, I] -> [..., h s, w s, I]."""
  *lead, height, width, s, _, channels = x.shape
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape((*lead, height * s, width * s, channels))
