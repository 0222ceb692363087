"""What changes over a run: variances, rates, weights (paper, appendix B)."""

import math

import jax
import jax.numpy as jnp
import optax
from scipy import special

from cgqn_jax.types import Array

# The run length at which the paper's boundaries hold as printed; any other
# run scales them all by one factor (the text does not state a length).
SCHEDULE_STEPS = 400_000


def schedule(
  boundaries: tuple[int, ...],
  values: tuple[float, ...],
  interpolation: str,
  num_steps: int,
) -> optax.Schedule:
  """A schedule printed for 400,000 steps, scaled to a run of `num_steps`.

  Args:
    boundaries: steps, of a 400,000-step run, at which `values` are reached.
    values: as many; constant before the first boundary and after the last.
    interpolation: 'linear' or 'cosine' between them (half a wave, so that
      both ends are flat), or 'constant' until the next one.
    num_steps: length of this run.
  """
  if len(boundaries) != len(values) or not values:
    raise ValueError(
      f'schedule: {len(boundaries)} boundaries for {len(values)} values; give '
      'one value for each boundary'
    )
  if interpolation not in ('linear', 'cosine', 'constant'):
    raise ValueError(
      f"schedule: interpolation is {interpolation!r}; use 'linear', 'cosine' "
      "or 'constant'"
    )
  factor = num_steps / SCHEDULE_STEPS
  steps = jnp.array([b * factor for b in boundaries], jnp.float32)
  levels = jnp.array(values, jnp.float32)

  def linear(step: Array) -> Array:
    return jnp.interp(jnp.asarray(step, jnp.float32), steps, levels)

  def cosine(step: Array) -> Array:
    place = jnp.interp(
      jnp.asarray(step, jnp.float32),
      steps,
      jnp.arange(len(values), dtype=jnp.float32),
    )
    before = jnp.floor(place)
    after = jnp.minimum(before + 1, len(values) - 1).astype(jnp.int32)
    share = (1 - jnp.cos(jnp.pi * (place - before))) / 2
    first = levels[before.astype(jnp.int32)]
    return first + share * (levels[after] - first)

  def constant(step: Array) -> Array:
    reached = jnp.sum(jnp.asarray(step, jnp.float32) >= steps)
    return levels[jnp.maximum(reached - 1, 0)]

  return {'linear': linear, 'cosine': cosine, 'constant': constant}[
    interpolation
  ]


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
