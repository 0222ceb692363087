"""What an evaluation is of, and its scenes and bounds batch by batch."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict
import numpy as np
import tqdm

from cgqn_jax.data import batches
from cgqn_jax.data.examples import Source
from cgqn_jax.evaluation import metrics
from cgqn_jax.evaluation.metrics import Bounds
from cgqn_jax.models.build import Model
from cgqn_jax.types import Array, Batch, Params


class Subject(NamedTuple):
  """What is evaluated, and under which protocol: see `tasks.protocol`."""

  model: Model
  params: Params
  config: ConfigDict
  source: Source
  protocol: dict[str, Any]

  def batches(
    self, bar: str | None = None, num_targets: int | None = None
  ) -> Iterator[Batch]:
    """The protocol's scenes, with a progress bar of this name.

    num_targets: hidden frames of each scene, a choice; by default all.
    """
    count, size = self.protocol['num_scenes'], self.protocol['batch_size']
    progress = tqdm.tqdm(
      total=count, desc=bar, unit=' scenes', disable=bar is None
    )
    progress.set_postfix_str('the first compile')
    for batch in batches.test_batches(
      self.config, self.source, count, size, num_targets
    ):
      yield batch
      progress.set_postfix_str('', refresh=False)
      progress.update(int(np.sum(batch.weight)))
    progress.close()

  def bounds(self, key: Array, batch: Batch) -> Bounds:
    """Bounds at the protocol's pixel-variance and number of draws."""
    p = self.protocol
    return metrics.bounds(
      self.model, self.params, key, batch, p['pixel_variance'], p['num_draws']
    )

  def bounds_of_first(self, key: Array, batch: Batch) -> Bounds:
    """The same of a posterior that sees the first target alone.

    Its KL is KL_1; KL_3 is that of `bounds`, whose posterior sees them all.
    Under the same key both have the same noise.
    """
    first = np.arange(batch.target_mask.shape[1]) == 0
    return self.bounds(
      key, batch._replace(target_mask=batch.target_mask & first)
    )

  def all_bounds(
    self, key: Array, bar: str | None = None, num_targets: int | None = None
  ) -> Bounds:
    """Bounds of all V scenes of the protocol, [V] each."""
    rows = [
      np.stack(self.bounds(key, batch))[:, batch.weight > 0]
      for batch in self.batches(bar, num_targets)
    ]
    return Bounds(*np.concatenate(rows, axis=1))
