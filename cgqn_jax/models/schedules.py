"""What changes over a run: variances, rates, weights (paper, appendix B)."""

import math

import jax
import jax.numpy as jnp
import optax
from scipy import special

from cgqn_jax.types import Array


def schedule(
  boundaries: tuple[float, ...],
  values: tuple[float, ...],
  interpolation: str,
  num_steps: int,
) -> optax.Schedule:
  """A value that changes over a run; `fields` has what it may be.

  Args:
    boundaries: shares of the run, from 0 to 1, at which `values` are reached.
    values: as many; constant before the first boundary and after the last.
    interpolation: 'linear' or 'cosine' between them (half a wave, so that
      both ends are flat), or 'constant' until the next one.
    num_steps: updates of the run.
  """
  steps = jnp.array([b * num_steps for b in boundaries], jnp.float32)
  levels = jnp.array(values, jnp.float32)

  def value(step: Array) -> Array:
    step = jnp.asarray(step, jnp.float32)
    if interpolation == 'linear':
      return jnp.interp(step, steps, levels)
    if interpolation == 'constant':
      reached = jnp.sum(step >= steps)
      return levels[jnp.maximum(reached - 1, 0)]
    place = jnp.interp(step, steps, jnp.arange(len(values), dtype=jnp.float32))
    before = jnp.floor(place)
    after = jnp.minimum(before + 1, len(values) - 1).astype(jnp.int32)
    share = (1 - jnp.cos(jnp.pi * (place - before))) / 2
    first = levels[before.astype(jnp.int32)]
    return first + share * (levels[after] - first)

  return value


def scheduled_sampling(num_steps: int, half_life: float) -> optax.Schedule:
  """The probability of feeding true frames: k / (k + exp(step / k)).

  k is such that it is about a half after `half_life` (a fraction, 0.06 in the
  released code) of a run of `num_steps` updates.
  """
  steps = half_life * num_steps  # = k log k
  k = steps / special.lambertw(steps).real

  def truth(step: Array) -> Array:
    return jax.nn.sigmoid(math.log(k) - jnp.asarray(step, jnp.float32) / k)

  return truth
