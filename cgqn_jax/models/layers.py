"""The layers that all models share (paper, appendix B).

A convolution whose stride equals its kernel is a reshape and a matrix product,
and what does not change over the steps of a scan is convolved only once.
"""

import flax.linen as nn
import jax.numpy as jnp

from cgqn_jax.models.convolutions import apply, convolve, operator
from cgqn_jax.types import Array

KERNEL_INIT = nn.initializers.lecun_normal()


def add_bias(x: Array, bias: Array) -> Array:
  """x [..., O] plus bias [O], the broadcast written out."""
  return x + jnp.expand_dims(bias, range(x.ndim - 1))


class Conv(nn.Module):
  """Stride-1 SAME convolution with bias on [..., h, w, I], in its dtype."""

  features: int
  size: int
  kernel_init: nn.initializers.Initializer = KERNEL_INIT

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape)
    bias = self.param('bias', nn.initializers.zeros_init(), shape[-1:])
    kernel, bias = kernel.astype(x.dtype), bias.astype(x.dtype)
    return add_bias(convolve(x, kernel), bias)


class RecurrentConv(nn.Module):
  """The same for use in every step of a scan: its operator is made before."""

  inputs: int
  features: int
  size: int

  def setup(self) -> None:
    shape = (self.size, self.size, self.inputs, self.features)
    self.kernel = self.param('kernel', KERNEL_INIT, shape)
    self.bias = self.param('bias', nn.initializers.zeros_init(), shape[-1:])

  def operator(self, height: int, width: int, maps: int) -> Array:
    """What `__call__` wants, see `operator`."""
    return operator(self.kernel, height, width, maps)

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
    s, (height, width, channels) = self.stride, x.shape[-3:]
    grid = (height // s, s, width // s, s, channels)
    patches = jnp.moveaxis(x.reshape(x.shape[:-3] + grid), -4, -3)
    patches = patches.reshape(patches.shape[:-3] + (s * s * channels,))
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
    s, (height, width, channels) = self.stride, x.shape[-3:]
    kernel = self.param(
      'kernel', self.kernel_init, (channels, s * s * self.features)
    )
    bias = self.param('bias', nn.initializers.zeros_init(), (self.features,))
    patches = (x @ kernel).reshape(x.shape[:-1] + (s, s, self.features))
    image = jnp.moveaxis(patches, -3, -4).reshape(
      x.shape[:-3] + (height * s, width * s, self.features)
    )
    return add_bias(image, bias)


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
    gates = convolve(x, self.kernel[:, :, : x.shape[-1]])
    return add_bias(gates, self.bias)

  def view_gates(self, views: Array, height: int, width: int) -> Array:
    """Gates [..., h, w, 4 F] due to views [..., V], the last static channels.

    A viewpoint is the same everywhere on the map, so its gates are a linear
    combination of V maps, whatever the number of queries.
    """
    last, width_v = self.static_features, views.shape[-1]
    basis = broadcast_view(jnp.eye(width_v), height, width)
    maps = convolve(basis, self.kernel[:, :, last - width_v : last])
    return jnp.einsum('...v,vhwg->...hwg', views, maps)

  def recurrent_operator(self, height: int, width: int, maps: int) -> Array:
    """The operator of [inputs ; h]: make it before the scan, see `operator`."""
    kernel = self.kernel[:, :, self.static_features :]
    return operator(kernel, height, width, maps)

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


class Encoder(nn.Module):
  """M_theta: a frame and its viewpoint -> a representation (appendix B).

  Four convolutions, ReLU between them and none after the last; the viewpoint
  is broadcast over the frame and concatenated to it. Not the paper's, and off:
  frames times frame_scale, and with view_gains a viewpoint that also scales the
  features, for a sum over frames to keep apart what was seen when.
  """

  widths: tuple[int, int, int, int] = (8, 16, 32, 32)
  frame_scale: float = 1.0
  view_gains: bool = False

  @nn.compact
  def __call__(self, frames: Array, views: Array) -> Array:
    """frames [..., H, W, 3], views [..., V] -> [..., H/4, W/4, R]."""
    height, width = frames.shape[-3:-1]
    first, second, third, last = self.widths
    frames = frames * self.frame_scale
    x = jnp.concatenate([frames, broadcast_view(views, height, width)], axis=-1)
    x = nn.relu(PatchConv(first, 2)(x))
    x = nn.relu(PatchConv(second, 2)(x))
    x = nn.relu(Conv(third, 3)(x))
    x = Conv(last, 3)(x)
    return x * view_gains(last, views) if self.view_gains else x


def view_gains(features: int, views: Array) -> Array:
  """Within a compact module: factors [..., 1, 1, features], around 1."""
  gains = nn.Dense(features, kernel_init=KERNEL_INIT, name='view_gains')(views)
  return 1 + gains[..., None, None, :]
