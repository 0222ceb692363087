"""What training shows of held-out scenes: loss, best of n, strips of samples.

Compiled once for all seeds of a run. The paper (section 4) is silent on it.
"""

from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import images
from cgqn_jax.data import batches, protocols
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation.sampling import blanked, draw_all, draw_samples
from cgqn_jax.models.build import Model
from cgqn_jax.types import Params

_PICTURED = 6  # scenes in the strips
_SAMPLED = 32  # scenes of the best of n


class Validation:
  """Validation loss at the final pixel-variance, best of n, and strips."""

  def __init__(self, model: Model, config: ConfigDict):
    self._config, self._model = config, model
    self._source = open_source(config, 'validation')
    # The variance of the schedule's end, so that the curve shows learning
    # and not the schedule.
    self._loss = jax.jit(
      lambda params, key, batch: model.loss(
        params, key, batch, config.num_steps
      )[1]
    )
    self._reconstruct = jax.jit(model.reconstruct)

  def try_out(self) -> None:
    """Reads the scenes that will be read, and draws a label.

    So that what is wrong with them shows before the first update, not when
    validation is first due. What a simulator makes is taken on trust.
    """
    config = self._config
    images.sheet(np.zeros((1, 1, 8, 8, 3)), ['truth'])  # needs a font
    if config.data.source != 'simulator':
      for index in range(min(config.validation_scenes, len(self._source))):
        _ = self._source[index]

  def loss(self, params: Params, seed: int) -> dict[str, Any]:
    """Means over config.validation_scenes."""
    config, key = self._config, jax.random.key(seed)
    batch_size = min(config.batch_size, config.validation_scenes)
    rows, weights = [], []
    for batch in batches.validation_batches(
      config, self._source, config.validation_scenes, batch_size
    ):
      rows.append(jax.device_get(self._loss(params, key, batch)))
      weights.append(np.sum(batch.weight))
    return jax.tree.map(lambda *x: np.average(x, 0, weights), *rows)

  def best_of(self, params: Params, seed: int) -> dict[str, float]:
    """Mean over scenes of the least MSE of config.validation_best_of samples.

    Under the protocol of the tables, with the mean over samples beside it:
    whether samples get better is what the loss does not show. Nothing where
    validation_best_of is 0.
    """
    config, count = self._config, self._config.validation_best_of
    if not count:
      return {}
    scenes = min(_SAMPLED, config.validation_scenes)
    least, mean, weights = [], [], []
    for batch in batches.test_batches(config, self._source, scenes, 8):
      drawn = draw_samples(
        self._model, params, jax.random.key(seed), batch, count
      )
      errors = np.nanmean(drawn.errors, -1)
      least.append(errors.min(0))
      mean.append(errors.mean(0))
      weights.append(batch.weight)
    weights = np.concatenate(weights)
    return {
      f'best_of_{count}': np.average(np.concatenate(least), weights=weights),
      'mean_of_samples': np.average(np.concatenate(mean), weights=weights),
    }

  def spread(self, params: Params, seed: int) -> float:
    """Root-mean-square difference of two samples of the same scenes."""
    batch = next(
      batches.test_batches(self._config, self._source, _PICTURED, _PICTURED)
    )
    one, other = draw_all(self._model, params, jax.random.key(seed), batch, 2)
    apart = np.square(one - other, dtype=np.float64)[batch.target_mask]
    return float(np.sqrt(np.mean(apart)))

  def picture(self, params: Params, seed: int) -> np.ndarray:
    """Truth, one posterior sample and two prior samples of the same scenes.

    The gap between posterior and prior is the first thing to look at. Left,
    in orange, what was context; in the posterior's row, the targets that it
    sees, and nothing of the others.
    """
    key = jax.random.key(seed)
    batch = next(
      batches.test_batches(self._config, self._source, _PICTURED, _PICTURED)
    )
    hidden = batch.target.views.shape[1]
    # The posterior sees and draws as many targets as in training: r' of more
    # would be unlike any that it knows.
    seen = np.linspace(0, hidden - 1, self._config.data.num_targets).astype(int)
    mask = np.zeros_like(batch.target_mask)
    mask[:, seen] = True
    few = batch._replace(target_mask=mask & batch.target_mask)
    drawn = images.to_uint8(self._reconstruct(params, key, few))
    samples = draw_all(self._model, params, key, batch, 2)
    rows = [
      blanked(batch.target.frames, batch.target_mask),
      blanked(drawn, few.target_mask),
      *blanked(samples, batch.target_mask),
    ]
    shown = np.arange(hidden)[:: max(1, hidden // 8)]
    frames = np.stack(rows, axis=1)[:, :, shown]
    # Beside the truth what was context, blank where a scene has less of it.
    context = blanked(batch.context.frames, batch.context_mask)
    left = np.full((*frames.shape[:2], *context.shape[1:]), np.nan)
    left[:, 0] = context
    marked = np.zeros((*frames.shape[:2], left.shape[2] + len(shown)), bool)
    marked[:, 0, : left.shape[2]] = batch.context_mask
    marked[:, 1, left.shape[2] :] = few.target_mask[:, shown]
    frames = np.concatenate([left, frames], axis=2)
    names = ['truth', 'posterior', 'prior 1', 'prior 2']
    return images.sheet(
      frames.reshape((-1, *frames.shape[2:])),
      [
        f'scene {scene}: {name}' if name == 'truth' else name
        for scene in range(len(frames))
        for name in names
      ],
      self._columns(left.shape[2], shown),
      context=marked.reshape((-1, marked.shape[-1])),
      block=len(names),
      note='Orange: seen by the model; the posterior sees targets, too.',
    )

  def _columns(self, context: int, shown: np.ndarray) -> list[str]:
    """Names of the columns: frames where they are the same in all scenes."""
    for_tables = protocols.for_config(self._config).for_tables
    count = min(_PICTURED, len(self._source))
    examples = batches.scenes(self._source, range(count))
    views = [for_tables(self._config, example) for example in examples]
    longest = max(views, key=lambda one: len(one.targets)).targets
    if all(
      np.array_equal(one.context, views[0].context)
      and np.array_equal(one.targets, longest[: len(one.targets)])
      for one in views
    ):
      drawn = longest[shown[shown < len(longest)]]
      names = [f'F{i + 1}' for i in (*views[0].context, *drawn)]
      names += [''] * int(np.sum(shown >= len(longest)))
      return [''] * (context + len(shown) - len(names)) + names
    names = [f'seen {i + 1}' for i in range(context)]
    return names + [f'hidden {i + 1}' for i in shown]
