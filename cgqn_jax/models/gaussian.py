"""Diagonal normals: sampling, density and KL (paper, appendix A).

A latent is an array [..., K, h, w, Z] of K steps, or a pytree of such, also of
vectors [..., K, G]; its normals have the same form. The axes of one step are
one event, whatever stands before them is batch.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cgqn_jax.types import Array, Normal

LOG_TWO_PI = 1.8378770664093453
EVENT_AXES = (-3, -2, -1)

# The heads give a log-variance rho, clipped to this range before it becomes a
# log standard deviation rho / 2: wide enough never to bind in a healthy run,
# narrow enough that one bad step cannot overflow.
LOG_VARIANCE_RANGE = (-10.0, 4.0)


def from_head(head: Array) -> Normal:
  """Splits a head [..., 2 Z] into mean and log-variance: a `Normal`."""
  mean, log_variance = jnp.split(head, 2, axis=-1)
  return Normal(mean, jnp.clip(log_variance, *LOG_VARIANCE_RANGE) / 2)


def sample(normal: Normal, noise: Array) -> Array:
  """Reparameterised draw from standard normal noise of the same shape."""
  return normal.mean + jnp.exp(normal.log_std) * noise


def log_prob(normal: Normal, value: Array) -> Array:
  """Log density of every coordinate in nats, [..., h, w, Z]: not summed."""
  scaled = (value - normal.mean) * jnp.exp(-normal.log_std)
  return -0.5 * (scaled**2 + LOG_TWO_PI) - normal.log_std


def kl(q: Normal, p: Normal) -> Array:
  """KL(q || p) of every coordinate in nats, [..., h, w, Z]: not summed."""
  shift = (q.mean - p.mean) * jnp.exp(-p.log_std)
  ratio = jnp.exp(2 * (q.log_std - p.log_std))
  return 0.5 * (ratio + shift**2 - 1) + p.log_std - q.log_std


def log_ratio_of_steps(q: Any, p: Any, z: Any, axis: int) -> Array:
  """log q(z) - log p(z) of a latent's steps: [..., K], K at `axis`."""

  def of_part(q: Normal, p: Normal, z: Array) -> Array:
    return log_prob(q, z) - log_prob(p, z)

  return _over_events(of_part, axis, q, p, z)


def kl_of_steps(q: Any, p: Any, axis: int) -> Array:
  """KL(q || p) of a latent's steps in nats: [..., K], K at `axis`."""
  return _over_events(kl, axis, q, p)


def kl_of_channels(q: Any, p: Any, axis: int) -> Array:
  """The same by channel, [..., Z], those of a pytree one after the other."""

  def of_part(q: Normal, p: Normal) -> Array:
    each = kl(q, p)
    return jnp.sum(each, axis=tuple(range(axis, each.ndim - 1)))

  return jnp.concatenate(_parts(of_part, q, p), axis=-1)


def _over_events(function: Any, axis: int, *latents: Any) -> Array:
  def summed(*parts: Any) -> Array:
    each = function(*parts)
    return jnp.sum(each, axis=tuple(range(axis + 1, each.ndim)))

  return sum(_parts(summed, *latents))


def _parts(function: Any, *latents: Any) -> list[Array]:
  """function of each part of latents of one form."""

  def is_part(x: Any) -> bool:
    return isinstance(x, Normal)

  results = jax.tree.map(function, *latents, is_leaf=is_part)
  return jax.tree.leaves(results)


def image_log_prob(
  mean: Array, frames: Array, variance: Array | float
) -> Array:
  """Log density of frames [..., H, W, 3] under N(mean, variance I), [...].

  In nats, summed over pixels and channels, with the constant
  (D / 2) log(2 pi variance), D = H W 3.
  """
  size = frames.shape[-3] * frames.shape[-2] * frames.shape[-1]
  squared = jnp.sum((frames - mean) ** 2, axis=EVENT_AXES)
  constant = 0.5 * size * (LOG_TWO_PI + jnp.log(variance))
  return -0.5 * squared / variance - constant


def normal(mean: Array, log_variance: Array) -> Normal:
  """A normal from its two heads, the log-variance within the usual range.

  The gradient passes the bounds: while the KL is not charged yet nothing holds
  a log-variance back, and one that has crossed a bound must come back later.
  """
  clipped = jnp.clip(log_variance, *LOG_VARIANCE_RANGE)
  return Normal(
    mean, (log_variance + jax.lax.stop_gradient(clipped - log_variance)) / 2
  )
