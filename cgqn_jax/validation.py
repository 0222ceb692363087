"""What training shows of held-out scenes: a loss, and strips of samples.

Compiled once for all seeds of a run. The paper (section 4) is silent on it.
"""

from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import data, pictures
from cgqn_jax.types import Params

_PICTURED = 6  # scenes in the strips


class Validation:
  """Validation loss at the final pixel-variance, and strips of samples."""

  def __init__(self, model: Any, config: ConfigDict):
    self._config = config
    # The variance of the schedule's end, so that the curve shows learning
    # and not the schedule.
    self._loss = jax.jit(
      lambda params, key, batch: model.loss(
        params, key, batch, config.num_steps
      )[1]
    )
    self._sample = jax.jit(
      lambda params, key, batch: model.sample(
        params, key, batch.context, batch.context_mask, batch.target.views, 2
      )
    )
    self._reconstruct = jax.jit(model.reconstruct)

  def loss(self, params: Params, seed: int) -> dict[str, Any]:
    """Means over config.validation_scenes."""
    config, key = self._config, jax.random.key(seed)
    batch_size = min(config.batch_size, config.validation_scenes)
    rows, weights = [], []
    for batch in data.validation_batches(
      config, 'validation', config.validation_scenes, batch_size
    ):
      rows.append(jax.device_get(self._loss(params, key, batch)))
      weights.append(np.sum(batch.weight))
    return jax.tree.map(lambda *x: np.average(x, 0, weights), *rows)

  def picture(self, params: Params, seed: int) -> np.ndarray:
    """Truth, one posterior sample and two prior samples of the same scenes.

    The gap between posterior and prior is the first thing to look at.
    """
    key = jax.random.key(seed)
    batch = next(
      data.test_batches(self._config, 'validation', _PICTURED, _PICTURED)
    )
    hidden = batch.target.views.shape[1]
    # The posterior sees as many targets as in training, and draws them all.
    seen = np.linspace(0, hidden - 1, self._config.data.num_targets).astype(int)
    mask = np.zeros_like(batch.target_mask)
    mask[:, seen] = True
    few = batch._replace(target_mask=mask)
    every = slice(None, None, max(1, hidden // 8))
    rows = [pictures.to_uint8(batch.target.frames)]
    rows.append(pictures.to_uint8(self._reconstruct(params, key, few)))
    rows.extend(pictures.to_uint8(self._sample(params, key, batch)))
    frames = np.stack(rows, axis=1)[:, :, every]
    labels = ['truth', 'posterior', 'prior 1', 'prior 2'] * len(frames)
    return pictures.sheet(frames.reshape((-1, *frames.shape[2:])), labels)
