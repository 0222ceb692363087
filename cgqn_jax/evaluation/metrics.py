"""What the tables report: bounds in nats, errors of samples, their quality.

Paper, section 4.1 (multi-sample MSE) and 4.2 (negative ELBO). Errors are
means over the frames, pixels and channels of a scene's hidden frames, after
clipping to [0, 1]; best-of-n takes the minimum over samples of the *joint*
error of all hidden frames, never frame by frame.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from cgqn_jax.types import Array, Batch, Elbo, Params, to_unit

BEST_OF = (1, 3, 6, 10, 30, 100)
MSE_FLOOR = 1e-10  # of the PSNR: 100 dB at most


class Samples(NamedTuple):
  """What is kept of S samples of B scenes.

  errors: [S, B, T] MSE of each hidden frame to the truth.
  distances: [S, B, F, T] the same to each of F hypotheses.
  best: [B, T, H, W, 3] the sample of the least joint error.
  variance: [B] mean over pixels of the variance over samples.
  """

  errors: np.ndarray
  distances: np.ndarray
  best: np.ndarray
  variance: np.ndarray


def draw_samples(
  model: Any,
  params: Params,
  key: Array,
  batch: Batch,
  hypotheses: Array,
  num_samples: int,
  chunk: int = 10,
) -> Samples:
  """Draws samples in chunks, and keeps of them what the metrics need.

  Sample s of example b has the noise of (key, b, s), so neither the batch nor
  the number of samples changes it.

  Args:
    model: anything with `sample`.
    params: of the model.
    key: typed key of the whole evaluation.
    batch: [B] scenes; the targets are the hidden frames.
    hypotheses: [B, F, T, H, W, 3] uint8 possible futures; F may be 0.
    num_samples: S.
    chunk: samples drawn at once, which bounds the memory.
  """
  errors, distances, total, squares = [], [], 0.0, 0.0
  best, least = None, None
  for first in range(0, num_samples, chunk):
    frames, error, distance = _draw(
      model, params, key, batch, hypotheses, first, chunk
    )
    keep = min(chunk, num_samples - first)
    frames, error = frames[:keep], error[:keep]
    errors.append(error)
    distances.append(distance[:keep])
    total += jnp.sum(frames, 0)
    squares += jnp.sum(frames**2, 0)
    joint = jnp.mean(error, -1)
    winner = jnp.argmin(joint, 0)
    scenes = jnp.arange(joint.shape[1])
    candidate, its = frames[winner, scenes], joint[winner, scenes]
    if best is None:
      best, least = candidate, its
    else:
      better = jnp.expand_dims(its < least, range(1, best.ndim))
      best = jnp.where(better, candidate, best)
      least = jnp.minimum(its, least)
  mean = total / num_samples
  spread = jnp.maximum(squares / num_samples - mean**2, 0)
  unbiased = num_samples / max(num_samples - 1, 1)
  return Samples(
    errors=np.concatenate(errors),
    distances=np.concatenate(distances),
    best=np.asarray(best),
    variance=np.asarray(jnp.mean(spread, (1, 2, 3, 4)) * unbiased),
  )


@functools.partial(jax.jit, static_argnames=('model', 'chunk'))
def draw_chunk(
  model: Any,
  params: Params,
  key: Array,
  batch: Batch,
  first: Array,
  chunk: int,
) -> Array:
  """Samples first .. first + chunk - 1 of the targets, clipped to [0, 1].

  Returns:
    [chunk, B, T, H, W, 3].
  """
  frames = model.sample(
    params,
    key,
    batch.context,
    batch.context_mask,
    batch.target.views,
    chunk,
    batch.example_id,
    first_sample=first,
  )
  return jnp.clip(frames, 0, 1)


@functools.partial(jax.jit, static_argnames=('model', 'chunk'))
def _draw(
  model: Any,
  params: Params,
  key: Array,
  batch: Batch,
  hypotheses: Array,
  first: Array,
  chunk: int,
) -> tuple[Array, Array, Array]:
  """A chunk of samples [s, B, T, ...], their errors and distances."""
  frames = draw_chunk(model, params, key, batch, first, chunk)
  truth = to_unit(batch.target.frames)
  error = jnp.mean((frames - truth[None]) ** 2, axis=(-3, -2, -1))
  # |x - y|^2 expanded: a matrix product instead of S x F pictures.
  flat = frames.reshape(frames.shape[:3] + (-1,))
  others = to_unit(hypotheses)
  others = others.reshape(others.shape[:3] + flat.shape[-1:])
  # Of products that nearly cancel: all digits, on a GPU too.
  cross = jnp.einsum('sbtd,bftd->sbft', flat, others, precision='highest')
  own = jnp.sum(flat**2, -1)[:, :, None]
  theirs = jnp.sum(others**2, -1)[None]
  distance = jnp.maximum(own + theirs - 2 * cross, 0) / flat.shape[-1]
  return frames, error, distance


def best_of_n(errors: np.ndarray, n: int) -> np.ndarray:
  """Unbiased estimate of the least of n errors, from N >= n of them.

  The expectation over all subsets of n out of the N samples:
  sum_i e_(i) C(N - i, n - 1) / C(N, n) over the sorted errors, i from 1.

  Args:
    errors: [N, ...] joint errors, one a sample.
    n: at most N.

  Returns:
    [...].
  """
  total = errors.shape[0]
  if not 1 <= n <= total:
    raise ValueError(f'best of {n} samples: there are {total}')
  rank = np.arange(1, total - n + 2)
  weight = special.binom(total - rank, n - 1) / special.binom(total, n)
  return np.tensordot(weight, np.sort(errors, axis=0)[: len(rank)], axes=1)


def psnr(mse: np.ndarray) -> np.ndarray:
  """Peak signal-to-noise ratio of [0, 1] frames in dB, from their MSE."""
  return -10 * np.log10(np.maximum(mse, MSE_FLOOR))


@jax.jit
def ssim(one: Array, other: Array) -> Array:
  """Structural similarity of frames [..., H, W, 3] in [0, 1]: [...].

  11x11 Gaussian window of standard deviation 1.5, K = 0.01 and 0.03, VALID
  padding, mean over positions and channels.
  """
  offset = np.arange(11) - 5
  window = np.exp(-0.5 * (offset / 1.5) ** 2)
  window /= window.sum()

  # A product with a band, a row an output: XLA compiles it at once, and shifted
  # copies, summed, not in minutes on a GPU. Variances are differences of blurs,
  # so a GPU's reduced precision of products would not do.
  def band(size: int) -> np.ndarray:
    rows = [np.pad(window, (i, size - 11 - i)) for i in range(size - 10)]
    return np.array(rows, np.float32)

  def blur(x: Array) -> Array:
    rows, columns = band(x.shape[-3]), band(x.shape[-2])
    x = jnp.einsum('ih,...hwc->...iwc', rows, x, precision='highest')
    return jnp.einsum('jw,...iwc->...ijc', columns, x, precision='highest')

  a, b = to_unit(one), to_unit(other)
  mean_a, mean_b = blur(a), blur(b)
  var_a = blur(a * a) - mean_a**2
  var_b = blur(b * b) - mean_b**2
  cov = blur(a * b) - mean_a * mean_b
  c1, c2 = 0.01**2, 0.03**2
  score = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
  score = score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
  return jnp.mean(score, axis=(-3, -2, -1))


class Bounds(NamedTuple):
  """Bounds of B scenes in nats: [B] each."""

  log_likelihood: np.ndarray
  kl: np.ndarray
  elbo: np.ndarray
  importance_weighted: np.ndarray


def bounds(
  model: Any,
  params: Params,
  key: Array,
  batch: Batch,
  pixel_variance: float,
  num_draws: int,
) -> Bounds:
  """The ELBO, averaged over draws, and the importance-weighted bound.

  The latter is log mean exp over draws of p(F | z) p(z | C) / q(z | C, F):
  no looser in expectation, and tight as the number of draws grows.
  """
  log_likelihood, kl, log_weight = [], [], []
  for draw in range(num_draws):
    elbo = _elbo(model, params, key, batch, pixel_variance, draw)
    log_likelihood.append(elbo.log_likelihood)
    kl.append(elbo.kl)
    log_weight.append(elbo.log_likelihood - elbo.log_ratio)
  likelihood, divergence = np.mean(log_likelihood, 0), np.mean(kl, 0)
  weighted = special.logsumexp(np.stack(log_weight), axis=0)
  return Bounds(
    likelihood,
    divergence,
    likelihood - divergence,
    weighted - np.log(num_draws),
  )


@functools.partial(jax.jit, static_argnames='model')
def _elbo(
  model: Any,
  params: Params,
  key: Array,
  batch: Batch,
  pixel_variance: Array,
  draw: Array,
) -> Elbo:
  key = jax.random.fold_in(key, draw)
  return model.elbo(params, key, batch, pixel_variance)


def bits_per_dimension(nats: float, dimensions: int) -> float:
  """Nats of a density on [0, 1] as bits a value on the 8-bit scale.

  No dequantisation; independent of the number of targets, since
  `dimensions` counts them too.
  """
  return nats / (dimensions * np.log(2)) + 8
