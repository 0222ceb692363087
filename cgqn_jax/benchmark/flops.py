"""Floating-point operations of a traced function, counted from its jaxpr.

For the tables of speed, which the paper's later abstract speaks of without a
number (no section of the paper). XLA's own cost analysis counts the body of a
scan once, whatever its length: every DRAW step but the first would be free.

One convention holds in all tables: matrix products and convolutions only, one
multiply-add is 2 operations, and all taps count, those that fall on padding
too. Taps on the holes that a dilated input puts between its elements do not
count: a transposed convolution costs what its convolution costs, and a SAME
convolution what its patches times the kernel cost. The count is of the
function as written: what `jax.checkpoint` computes again counts again, and so
does a product whose result nobody reads.
"""

from collections.abc import Callable, Iterator
import math
from typing import Any

import jax
from jax.extend import core
import numpy as np


def count_flops(fn: Callable[..., Any], *args: Any) -> int:
  """Operations of one call of `fn(*args)`, over all devices.

  Args:
    fn: a traceable function, jitted or not; it is traced, never run.
    args: arrays or `jax.ShapeDtypeStruct`s, as `fn` takes them.
  """
  return _count(jax.make_jaxpr(fn)(*args).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: core.JaxprEqn) -> int:
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    return _dot_general(equation)
  if name == 'conv_general_dilated':
    return _conv_general_dilated(equation)
  if name == 'cond':
    return max(_count(branch) for branch in _inner_jaxprs(params))

  inside = sum(_count(jaxpr) for jaxpr in _inner_jaxprs(params))
  if name == 'scan':
    return params['length'] * inside
  if name == 'shard_map':  # and pmap, which is built on it
    return params['mesh'].size * inside
  if name == 'xla_pmap':  # pmap before it was
    return params['global_axis_size'] * inside
  if name in ('while', 'pallas_call') and inside:
    raise ValueError(
      f'cannot count the FLOPs of a `{name}`: how often its body runs is '
      f'not in the trace ({inside} FLOPs each time); write the loop as '
      '`jax.lax.scan`, or as `jax.lax.fori_loop` between Python integers.'
    )
  return inside  # jit, remat, custom_jvp, custom_vjp: called once


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
  """The jaxprs among an equation's parameters: one, several or none."""
  for value in params.values():
    for item in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(item, core.ClosedJaxpr):
        yield item.jaxpr
      elif isinstance(item, core.Jaxpr):
        yield item


def _dot_general(equation: core.JaxprEqn) -> int:
  (contracted, _), _ = equation.params['dimension_numbers']
  lhs = equation.invars[0].aval.shape
  return (
    2
    * math.prod(equation.outvars[0].aval.shape)
    * math.prod(lhs[axis] for axis in contracted)
  )


def _conv_general_dilated(equation: core.JaxprEqn) -> int:
  """2 x batch x output channels x input channels of one group x taps.

  Groups need no case of their own: the kernel holds the input channels of one
  group only, and the output the batch that is left after batch groups.
  """
  params = equation.params
  _, kernel_spec, out_spec = params['dimension_numbers']
  kernel = equation.invars[1].aval.shape
  out = equation.outvars[0].aval.shape
  taps = math.prod(
    _taps(out[out_axis], kernel[kernel_axis], stride, low, *dilations)
    for out_axis, kernel_axis, stride, (low, _), *dilations in zip(
      out_spec[2:],
      kernel_spec[2:],
      params['window_strides'],
      params['padding'],
      params['lhs_dilation'],
      params['rhs_dilation'],
      strict=True,
    )
  )
  return 2 * out[out_spec[0]] * out[out_spec[1]] * kernel[kernel_spec[1]] * taps


def _taps(
  out_size: int,
  kernel_size: int,
  stride: int,
  pad_low: int,
  lhs_dilation: int,
  rhs_dilation: int,
) -> int:
  """Pairs (output position, tap) along one axis that miss every hole."""
  positions = np.arange(out_size)[:, None] * stride - pad_low
  taps = np.arange(kernel_size)[None, :] * rhs_dilation
  return int(np.count_nonzero((positions + taps) % lhs_dilation == 0))
