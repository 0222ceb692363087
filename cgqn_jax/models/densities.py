"""Densities of latents and frames: sampling, density and KL (appendix A).

A latent is an array [..., K, h, w, Z] of K steps, or a pytree of such, of any
axes after K; its densities have the same form. The axes of one step are one
event, whatever stands before them is batch.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cgqn_jax.types import Array, Categorical, Density, Normal

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


def sample(
  density: Density, noise: Array, relaxed: Array | float = 0.0
) -> Array:
  """A draw from standard normal noise of the same shape.

  Of a normal it is reparameterised. Of a categorical it is one-hot: the
  greatest of the logits and Gumbel noise. Where it is relaxed, by a share of 0
  to 1, that share of it is their softmax instead, whose gradient it always has
  (Jang et al., 2017, arXiv:1611.01144).
  """
  match density:
    case Normal(mean, log_std):
      return mean + jnp.exp(log_std) * noise
    case Categorical(logits):
      # -log(-log u) of a uniform u, here the normal's distribution function,
      # which is 1 in float32 from 13 on.
      log_uniform = jax.scipy.special.log_ndtr(jnp.minimum(noise, 10))
      scores = logits - jnp.log(-log_uniform)
      soft = jax.nn.softmax(scores)
      hard = jax.nn.one_hot(jnp.argmax(scores, -1), scores.shape[-1])
      return soft + (1 - relaxed) * jax.lax.stop_gradient(hard - soft)


def log_prob(density: Density, value: Array) -> Array:
  """Log density of every coordinate in nats, of its shape: not summed."""
  match density:
    case Normal(mean, log_std):
      scaled = (value - mean) * jnp.exp(-log_std)
      return -0.5 * (scaled**2 + LOG_TWO_PI) - log_std
    case Categorical(logits):
      return value * logits


def kl(q: Density, p: Density) -> Array:
  """KL(q || p) of every coordinate in nats, of its shape: not summed.

  A choice has a summand for each of the n it may fall on.
  """
  if isinstance(q, Categorical):
    return jnp.exp(q.logits) * (q.logits - p.logits)
  shift = (q.mean - p.mean) * jnp.exp(-p.log_std)
  ratio = jnp.exp(2 * (q.log_std - p.log_std))
  return 0.5 * (ratio + shift**2 - 1) + p.log_std - q.log_std


def log_ratio_of_steps(q: Any, p: Any, z: Any, axis: int) -> Array:
  """log q(z) - log p(z) of a latent's steps: [..., K], K at `axis`."""

  def of_part(q: Density, p: Density, z: Array) -> Array:
    return log_prob(q, z) - log_prob(p, z)

  return _over_events(of_part, axis, q, p, z)


def kl_of_steps(q: Any, p: Any, axis: int) -> Array:
  """KL(q || p) of a latent's steps in nats: [..., K], K at `axis`."""
  return _over_events(kl, axis, q, p)


def kl_of_channels(q: Any, p: Any, axis: int) -> Array:
  """The same by channel, [..., Z], those of a pytree one after the other.

  A choice is one channel.
  """

  def of_part(q: Density, p: Density) -> Array:
    each = kl(q, p)
    if isinstance(q, Categorical):
      each = jnp.sum(each, axis=-1, keepdims=True)
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
    return isinstance(x, Density)

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
