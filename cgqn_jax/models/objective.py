"""The evidence lower bound.

Paper, section 3.3 and appendices A and B. Everything is in nats, summed over
targets, pixels, channels and DRAW steps, with every constant; the mean is
taken over scenes only.
"""

from typing import Any

import jax.numpy as jnp

from cgqn_jax.models import densities
from cgqn_jax.types import Array, Batch, Elbo, to_unit


def elbo(
  mean: Array,
  batch: Batch,
  z: Any,
  posterior: Any,
  prior: Any,
  pixel_variance: Array | float,
  *,
  per_target: bool = False,
  scale: Array | float = 1.0,
) -> Elbo:
  """The bound of each scene from one posterior draw (section 3.3).

  Args:
    mean: [B, T, H, W, 3] rendered targets.
    batch: the scenes; padded targets count for nothing.
    z: the draw, [B, K, h, w, Z] or a pytree of such, see `densities`.
    posterior: q_k given z_<k, of the same form.
    prior: p_k given the same z_<k.
    pixel_variance: sigma^2 of the likelihood.
    per_target: every target has a latent of its own, [B, T, K, ...] (GQN).
    scale: [B] for how many targets each of them stands.
  """
  log_likelihood = densities.image_log_prob(
    mean, to_unit(batch.target.frames), pixel_variance
  )
  axis = 2 if per_target else 1
  log_ratio = densities.log_ratio_of_steps(posterior, prior, z, axis)
  kl = densities.kl_of_steps(posterior, prior, axis)
  if per_target:
    log_ratio = _over_targets(log_ratio, batch.target_mask, scale)
    kl = _over_targets(kl, batch.target_mask, scale)
  return Elbo(
    log_likelihood=_over_targets(log_likelihood, batch.target_mask, scale),
    kl=jnp.sum(kl, axis=1),
    log_ratio=jnp.sum(log_ratio, axis=1),
  )


def loss_and_metrics(
  bound: Elbo,
  mean: Array,
  batch: Batch,
  posterior: Any,
  prior: Any,
  pixel_variance: Array,
  *,
  per_target: bool = False,
  scale: Array | float = 1.0,
  uncharged: Array | None = None,
) -> tuple[Array, dict[str, Any]]:
  """What training minimises, in nats per scene, and metrics of the bound.

  The negative ELBO, less the part of the KL that is `uncharged`, [B]; the
  metrics keep all of it. `loss_no_constant` leaves out
  (D / 2) log(2 pi sigma^2), which otherwise hides a few nats under tens of
  thousands and jumps with the schedule.
  """
  frames = to_unit(batch.target.frames)
  size = frames.shape[-3] * frames.shape[-2] * frames.shape[-1]
  total = jnp.maximum(jnp.sum(batch.weight), 1e-8)
  targets = jnp.sum(batch.target_mask.astype(jnp.float32), axis=1)

  def average(per_scene: Array) -> Array:
    weight = jnp.expand_dims(batch.weight, range(1, per_scene.ndim))
    # Whatever a scene of weight 0 holds.
    weighed = jnp.where(weight > 0, weight * per_scene, 0.0)
    return jnp.sum(weighed, axis=0) / total

  squared = jnp.mean((frames - mean) ** 2, axis=densities.EVENT_AXES)
  squared = jnp.sum(jnp.where(batch.target_mask, squared, 0.0), axis=1)
  constant = 0.5 * size * (densities.LOG_TWO_PI + jnp.log(pixel_variance))
  axis = 2 if per_target else 1
  steps = densities.kl_of_steps(posterior, prior, axis)
  channels = densities.kl_of_channels(posterior, prior, axis)
  if per_target:
    steps = _over_targets(steps, batch.target_mask, scale)
    channels = _over_targets(channels, batch.target_mask, scale)
  loss = average(bound.kl - bound.log_likelihood)
  metrics = {
    'loss': loss,
    'kl': average(bound.kl),
    'log_likelihood': average(bound.log_likelihood),
    'loss_no_constant': loss - average(targets * scale) * constant,
    'mse': average(squared / jnp.maximum(targets, 1)),
    'kl_per_step': average(steps),
    'kl_per_channel': average(channels),
    'pixel_variance': pixel_variance,
  }
  if uncharged is not None:
    loss -= average(uncharged)
  return loss, metrics


def _over_targets(x: Array, mask: Array, scale: Array | float) -> Array:
  """Sum of x [B, T, ...] over the targets that the mask [B, T] marks."""
  mask = jnp.expand_dims(mask, range(2, x.ndim))
  total = jnp.sum(jnp.where(mask, x, 0.0), axis=1)
  scale = jnp.broadcast_to(scale, mask.shape[:1])
  return total * jnp.expand_dims(scale, range(1, total.ndim))
