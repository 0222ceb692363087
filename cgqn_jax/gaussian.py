"""Diagonal normals: sampling, density and KL (paper, appendix A).

The last three axes of a latent map [..., h, w, Z] are one event; whatever
stands before them is batch.
"""

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
  """Log density of latent maps in nats, [...] without the event axes."""
  scaled = (value - normal.mean) * jnp.exp(-normal.log_std)
  return jnp.sum(
    -0.5 * (scaled**2 + LOG_TWO_PI) - normal.log_std, axis=EVENT_AXES
  )


def kl(q: Normal, p: Normal) -> Array:
  """KL(q || p) of every coordinate in nats, [..., h, w, Z]: not summed."""
  shift = (q.mean - p.mean) * jnp.exp(-p.log_std)
  ratio = jnp.exp(2 * (q.log_std - p.log_std))
  return 0.5 * (ratio + shift**2 - 1) + p.log_std - q.log_std


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
