"""A predictor that needs no training, for tests of whole evaluations."""

import jax.numpy as jnp
import numpy as np

from cgqn_jax.types import to_unit


class Player:
  """Shows whole futures in turn, or each frame of another one.

  futures: [scenes, F, T, H, W, 3] uint8, of the first scenes of a split.
  step: futures from one sample to the next.
  apart: futures from one frame to the next; 0 where all are of one.
  """

  def __init__(self, futures: np.ndarray, step: int = 1, apart: int = 0):
    self._futures = jnp.asarray(futures)
    self._step, self._apart = step, apart

  def sample(
    self, params, key, context, mask, views, num_samples, example_id,
    first_sample=0,
  ):  # fmt: skip
    del params, key, context, mask
    _, count, length = self._futures.shape[:3]
    frames = jnp.arange(views.shape[1])
    samples = first_sample + jnp.arange(num_samples)
    turn = self._step * samples[:, None] + example_id[None]
    turn = turn[..., None] + self._apart * frames[None, None]
    scene = example_id[None, :, None]
    shown = (frames % length)[None, None]
    return to_unit(self._futures[scene, turn % count, shown])
