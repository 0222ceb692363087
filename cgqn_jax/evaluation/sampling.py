"""Samples of a model for whole batches, in chunks that bound the memory."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.models.build import Model
from cgqn_jax.types import Array, Batch, Params, to_unit

_CHUNK = 10  # samples drawn at once


class Samples(NamedTuple):
  """What is kept of S samples of B scenes.

  errors: [S, B, T] MSE of each hidden frame to the truth; NaN of padding.
  distances: [S, B, F, T] the same to each of F hypotheses.
  best: [B, T, H, W, 3] the sample of the least joint error.
  variance: [B] mean over pixels of the variance over samples.
  """

  errors: np.ndarray
  distances: np.ndarray
  best: np.ndarray
  variance: np.ndarray


def draw_samples(
  model: Model,
  params: Params,
  key: Array,
  batch: Batch,
  num_samples: int,
  hypotheses: Array | None = None,
  chunk: int = _CHUNK,
) -> Samples:
  """Draws samples in chunks, and keeps of them what the metrics need.

  Sample s of example b has the noise of (key, b, s), so neither the batch nor
  the number of samples changes it.

  Args:
    model: the model.
    params: of the model.
    key: typed key of the whole evaluation.
    batch: [B] scenes; the targets are the hidden frames.
    num_samples: S.
    hypotheses: [B, F, T, H, W, 3] uint8 possible futures; by default none.
    chunk: samples drawn at once, which bounds the memory.
  """
  if hypotheses is None:
    shape = batch.target.frames.shape
    hypotheses = np.zeros((shape[0], 0, *shape[1:]), np.uint8)
  chunk = min(chunk, num_samples)
  mask = jnp.asarray(batch.target_mask)
  errors, distances, total, squares = [], [], 0.0, 0.0
  best, least = None, None
  for first in range(0, num_samples, chunk):
    frames, error, distance = _draw(
      model, params, key, batch, hypotheses, first, chunk
    )
    keep = min(chunk, num_samples - first)
    frames, error = frames[:keep], error[:keep]
    errors.append(jnp.where(mask, error, jnp.nan))
    distances.append(distance[:keep])
    total += jnp.sum(frames, 0)
    squares += jnp.sum(frames**2, 0)
    joint = jnp.mean(error, -1, where=mask)
    winner = jnp.argmin(joint, 0)
    scenes = jnp.arange(joint.shape[1])
    candidate, lowest = frames[winner, scenes], joint[winner, scenes]
    if best is None:
      best, least = candidate, lowest
    else:
      better = jnp.expand_dims(lowest < least, range(1, best.ndim))
      best = jnp.where(better, candidate, best)
      least = jnp.minimum(lowest, least)
  mean = total / num_samples
  spread = jnp.maximum(squares / num_samples - mean**2, 0)
  unbiased = num_samples / max(num_samples - 1, 1)
  pixels = mask[..., None, None, None]
  return Samples(
    errors=np.concatenate(errors),
    distances=np.concatenate(distances),
    best=np.asarray(best),
    variance=np.asarray(
      jnp.mean(spread, (1, 2, 3, 4), where=pixels) * unbiased
    ),
  )


@functools.partial(jax.jit, static_argnames=('model', 'chunk'))
def draw_chunk(
  model: Model,
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
  model: Model,
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
  # The terms nearly cancel, so a GPU needs all digits too.
  cross = jnp.einsum('sbtd,bftd->sbft', flat, others, precision='highest')
  own = jnp.sum(flat**2, -1)[:, :, None]
  theirs = jnp.sum(others**2, -1)[None]
  distance = jnp.maximum(own + theirs - 2 * cross, 0) / flat.shape[-1]
  return frames, error, distance


def draw_all(
  model: Model,
  params: Params,
  key: Array,
  batch: Batch,
  num_samples: int,
  chunk: int = _CHUNK,
) -> np.ndarray:
  """Samples of the targets, clipped to [0, 1]: [S, B, T, H, W, 3].

  chunk: samples drawn at once, which bounds the memory.
  """
  chunk = min(chunk, num_samples)
  chunks = [
    np.asarray(draw_chunk(model, params, key, batch, first, chunk))
    for first in range(0, num_samples, chunk)
  ]
  return np.concatenate(chunks)[:num_samples]


def blanked(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Floats in [0, 1], NaN where the mask is False: what pictures leave blank.

  Args:
    frames: [..., T, H, W, 3] uint8, or floats in [0, 1].
    mask: bools that broadcast to [..., T].
  """
  mask = np.asarray(mask)[..., None, None, None]
  return np.where(mask, np.asarray(to_unit(jnp.asarray(frames))), np.nan)
