"""The evidence lower bound and the pixel-variance schedule.

Paper, section 3.3 and appendices A and B. Everything is in nats, summed over
targets, pixels, channels and DRAW steps, with every constant; the mean is
taken over scenes only.
"""

from typing import Any

import jax.numpy as jnp
import optax

from cgqn_jax import gaussian
from cgqn_jax.types import Array, Batch, Elbo, Normal, to_unit

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
    interpolation: 'linear' between them, or 'constant' until the next one.
    num_steps: length of this run.
  """
  if len(boundaries) != len(values) or not values:
    raise ValueError(
      f'schedule: {len(boundaries)} boundaries for {len(values)} values; give '
      'one value for each boundary'
    )
  if interpolation not in ('linear', 'constant'):
    raise ValueError(
      f"schedule: interpolation is {interpolation!r}; use 'linear' or "
      "'constant'"
    )
  factor = num_steps / SCHEDULE_STEPS
  steps = jnp.array([b * factor for b in boundaries], jnp.float32)
  levels = jnp.array(values, jnp.float32)

  def linear(step: Array) -> Array:
    return jnp.interp(jnp.asarray(step, jnp.float32), steps, levels)

  def constant(step: Array) -> Array:
    reached = jnp.sum(jnp.asarray(step, jnp.float32) >= steps)
    return levels[jnp.maximum(reached - 1, 0)]

  return linear if interpolation == 'linear' else constant


def elbo(
  mean: Array,
  batch: Batch,
  z: Array,
  posterior: Normal,
  prior: Normal,
  pixel_variance: Array | float,
) -> Elbo:
  """The bound of each scene from one posterior draw (section 3.3).

  Args:
    mean: [B, T, H, W, 3] rendered targets.
    batch: the scenes; padded targets count for nothing.
    z: [B, K, h, w, Z] the draw, with the normals it came from; or
      [B, T, K, h, w, Z], where every target has a latent of its own (GQN).
    posterior: q_k given z_<k.
    prior: p_k given the same z_<k.
    pixel_variance: sigma^2 of the likelihood.
  """
  log_likelihood = gaussian.image_log_prob(
    mean, to_unit(batch.target.frames), pixel_variance
  )
  log_ratio = gaussian.log_prob(posterior, z) - gaussian.log_prob(prior, z)
  if z.ndim == 6:
    log_ratio = _over_targets(log_ratio, batch.target_mask)
  return Elbo(
    log_likelihood=jnp.sum(
      jnp.where(batch.target_mask, log_likelihood, 0.0), axis=1
    ),
    kl=jnp.sum(_divergence(posterior, prior, batch), axis=(1, 2, 3, 4)),
    log_ratio=jnp.sum(log_ratio, axis=1),
  )


def loss_and_metrics(
  bound: Elbo,
  mean: Array,
  batch: Batch,
  posterior: Normal,
  prior: Normal,
  pixel_variance: Array,
) -> tuple[Array, dict[str, Any]]:
  """Negative ELBO in nats a scene, and what one watches while it falls.

  loss_no_constant leaves out (D / 2) log(2 pi sigma^2), which otherwise hides
  a few nats under tens of thousands and jumps with the schedule.
  """
  frames = to_unit(batch.target.frames)
  size = frames.shape[-3] * frames.shape[-2] * frames.shape[-1]
  total = jnp.maximum(jnp.sum(batch.weight), 1e-8)
  targets = jnp.sum(batch.target_mask.astype(jnp.float32), axis=1)

  def average(per_scene: Array) -> Array:
    weight = jnp.expand_dims(batch.weight, range(1, per_scene.ndim))
    return jnp.sum(weight * per_scene, axis=0) / total

  squared = jnp.mean((frames - mean) ** 2, axis=gaussian.EVENT_AXES)
  squared = jnp.sum(jnp.where(batch.target_mask, squared, 0.0), axis=1)
  constant = 0.5 * size * (gaussian.LOG_TWO_PI + jnp.log(pixel_variance))
  kl = _divergence(posterior, prior, batch)
  loss = average(bound.kl - bound.log_likelihood)
  metrics = {
    'loss': loss,
    'kl': average(bound.kl),
    'log_likelihood': average(bound.log_likelihood),
    'loss_no_constant': loss - average(targets) * constant,
    'mse': average(squared / jnp.maximum(targets, 1)),
    'kl_per_step': average(jnp.sum(kl, axis=(2, 3, 4))),
    'kl_per_channel': average(jnp.sum(kl, axis=(1, 2, 3))),
    'pixel_variance': pixel_variance,
  }
  return loss, metrics


def _divergence(posterior: Normal, prior: Normal, batch: Batch) -> Array:
  """KL of every coordinate of a scene's latent, [B, K, h, w, Z].

  Where every target has a latent of its own, their sum over the targets.
  """
  kl = gaussian.kl(posterior, prior)
  return _over_targets(kl, batch.target_mask) if kl.ndim == 6 else kl


def _over_targets(x: Array, mask: Array) -> Array:
  """Sum of x [B, T, ...] over the targets that the mask [B, T] marks."""
  mask = jnp.expand_dims(mask, range(2, x.ndim))
  return jnp.sum(jnp.where(mask, x, 0.0), axis=1)
