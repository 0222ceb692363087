"""Stride-1 convolutions in the form that is fastest where they run.

The paper's table (appendix B) says nothing of how. On accelerators the plain
form is. On CPUs, where the map is smaller than the kernel, XLA falls to a naive
path thirty times slower than a matrix product. Two products replace it: of the
map's patches with the kernel or, where many maps pay for making it, of the map
with the kernel written out as a matrix from map to map. Inside a scan the
gradients that XLA derives fall to the naive path for any map (an update at
64x64 took 18 s instead of one), so they are written out in a form that does
not.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.types import Array

# From this many maps on the matrix is worth making: it costs as much as a few
# dozen applications of the kernel to patches (measured in docs/speed.md).
_MAPS_FOR_MATRIX = 64
# The kernel's gradient is summed over this many cells at once: for a hundred
# maps of 16x16 it takes a quarter of the time that way (docs/speed.md).
_CELLS_AT_ONCE = 2048


def convolve(x: Array, kernel: Array, cpu: bool = True) -> Array:
  """Stride-1 SAME convolution of [..., h, w, I] with [k, k, I, O], k odd.

  cpu: in the form that is fastest on CPUs; else the plain one.
  """
  height, width = x.shape[-3:-1]
  maps = math.prod(x.shape[:-3])
  return apply(x, operator(kernel, height, width, maps, cpu))


class TwoWay(NamedTuple):
  """A kernel [k, k, I, O], and turned [k, k, O, I] for the maps' gradient."""

  kernel: Array
  turned: Array


class ByPatches(NamedTuple):
  """A kernel [k, k, I, O] that patches of the map are multiplied with."""

  kernel: Array


Operator = Array | TwoWay | ByPatches


def operator(
  kernel: Array, height: int, width: int, maps: int, cpu: bool = True
) -> Operator:
  """A kernel [k, k, I, O] in the form that is fastest on `maps` such maps.

  On accelerators the kernel itself; on CPUs the kernel both ways, for patches,
  or as a matrix [h w I, h w O]. Make it once, outside of a scan, and `apply` it
  in every step.
  """
  if not cpu:
    return kernel
  size, _, inputs, outputs = kernel.shape
  if min(height, width) >= size:
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return TwoWay(kernel, jax.lax.stop_gradient(turned))
  if maps < _MAPS_FOR_MATRIX:
    return ByPatches(kernel)
  matrix = jnp.asarray(_one_hot_taps(height, width, size))
  matrix = matrix @ kernel.reshape((size * size, inputs * outputs))
  cells = height * width
  matrix = matrix.reshape((cells, cells, inputs, outputs)).swapaxes(1, 2)
  return matrix.reshape((cells * inputs, cells * outputs))


def apply(x: Array, operator: Operator) -> Array:
  """Convolves [..., h, w, I] with what `operator` made: [..., h, w, O]."""
  maps = x.reshape((-1,) + x.shape[-3:])
  count, height, width, _ = maps.shape
  if isinstance(operator, TwoWay):
    out = _convolve_on_cpu(maps, *operator)
  elif isinstance(operator, ByPatches):
    size, *_, outputs = operator.kernel.shape
    patches = jnp.concatenate(taps(maps, size), axis=-1)
    out = patches @ operator.kernel.reshape((-1, outputs))
  elif operator.ndim == 2:
    out = maps.reshape((count, -1)) @ operator
    out = out.reshape((count, height, width, -1))
  else:
    out = _native(maps, operator)
  return out.reshape(x.shape[:-1] + out.shape[-1:])


@functools.cache
def _one_hot_taps(height: int, width: int, size: int) -> np.ndarray:
  """Which tap leads from each cell to each cell: one-hot [(h w)^2, size^2]."""
  cells = np.stack(np.mgrid[:height, :width], -1).reshape((-1, 2))
  tap = cells[:, None] - cells[None] + size // 2
  inside = np.all((tap >= 0) & (tap < size), axis=-1)
  index = np.where(inside, tap[..., 0] * size + tap[..., 1], size * size)
  return np.eye(size * size + 1, dtype=np.float32)[index.ravel(), :-1]


def taps(x: Array, size: int, stride: int = 1) -> list[Array]:
  """What each of the size^2 taps of a SAME kernel sees of [..., h, w, I]."""
  height, width = x.shape[-3:-1]
  before = (size - stride) // 2
  pad = (before, size - stride - before)
  padded = jnp.pad(x, ((0, 0),) * (x.ndim - 3) + (pad, pad, (0, 0)))
  return [
    padded[..., i : i + height : stride, j : j + width : stride, :]
    for i in range(size)
    for j in range(size)
  ]


def _native(x: Array, kernel: Array) -> Array:
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


@jax.custom_vjp
def _convolve_on_cpu(x: Array, kernel: Array, turned: Array) -> Array:
  del turned
  return _native(x, kernel)


def _forward(
  x: Array, kernel: Array, turned: Array
) -> tuple[Array, tuple[Array, Array]]:
  return _native(x, kernel), (x, turned)


def _backward(
  saved: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array, None]:
  x, turned = saved
  size = turned.shape[0]
  return _native(cotangent, turned), _kernel_gradient(x, cotangent, size), None


def _kernel_gradient(x: Array, cotangent: Array, size: int) -> Array:
  """[k, k, I, O], a sum over all cells of all maps, some maps at a time."""
  count, height, width, _ = x.shape
  parts = -(-count * height * width // _CELLS_AT_ONCE)
  each = -(-count // parts)
  if each == count:
    return _kernel_gradient_of_part(x, cotangent, size)

  def split(maps: Array) -> Array:
    rest = -count % each
    maps = jnp.pad(maps, ((0, rest),) + ((0, 0),) * 3)
    return maps.reshape((-1, each) + maps.shape[1:])

  def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
    return total + _kernel_gradient_of_part(*part, size), None

  zeros = jnp.zeros((size, size, x.shape[-1], cotangent.shape[-1]), x.dtype)
  return jax.lax.scan(add, zeros, (split(x), split(cotangent)))[0]


def _kernel_gradient_of_part(x: Array, cotangent: Array, size: int) -> Array:
  # A convolution too, of the maps with the cotangent, where batch and channels
  # have changed places. The one that XLA derives is the same, but in a scan
  # falls to the naive path.
  pad = (size // 2, size // 2)
  turned = jax.lax.conv_general_dilated(
    x.transpose((3, 1, 2, 0)),
    cotangent.transpose((1, 2, 0, 3)),
    (1, 1),
    (pad, pad),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  return turned.transpose((1, 2, 0, 3))


_convolve_on_cpu.defvjp(_forward, _backward)
