"""Checkpoints: saved in the background, restored exactly or not at all.

A thin layer on Orbax; the paper (section 4) is silent on it. A checkpoint
named n means that n updates were applied. Training needs nothing else to
continue bit for bit: batches and noise are functions of (seed, step).
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import logging
import math
import os
import pathlib
import shutil
import sys
import time
from typing import Any, Literal, Self
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from cgqn_jax.training.update import TrainState
from cgqn_jax.types import Params

Step = int | Literal['latest', 'best']

# Old checkpoints are renamed into this folder before they are deleted, so
# that a kill in the middle leaves no half of one.
_DELETED = '.deleted'


class Checkpoints:
  """The checkpoints in one folder: the last `keep` and the best are kept.

  The best has the lowest `metrics['loss']`; give the validation loss there.
  State is copied to the host before `save` returns, so the caller may donate
  its buffers at once; files are written in the background and appear by a
  rename when complete. All processes of a run call `save`, the first writes.
  """

  def __init__(
    self, path: str | pathlib.Path, *, keep: int = 3, read_only: bool = False
  ) -> None:
    if keep < 1:
      raise ValueError(f'keep={keep} checkpoints: keep at least 1')
    self.path = pathlib.Path(path).absolute()
    if self.path.exists() and not self.path.is_dir():
      raise ValueError(f'{self.path} is a file; checkpoints need a folder')
    if read_only and not self.path.is_dir():
      raise ValueError(f'{self.path} does not exist: no checkpoint was saved')
    self._writes = not read_only and jax.process_index() == 0
    # Orbax logs a dozen lines a save, and warns of what is meant here; its
    # errors are raised as well.
    logging.getLogger('absl').addFilter(_not_from_orbax)
    policies = ocp.checkpoint_managers
    best = policies.BestN(
      get_metric_fn=_loss,
      reverse=True,
      n=1,
      keep_checkpoints_without_metrics=False,
    )
    options = ocp.CheckpointManagerOptions(
      create=not read_only,
      read_only=read_only,
      cleanup_tmp_directories=not read_only,
      todelete_subdir=None if read_only else _DELETED,
      best_fn=_loss,
      best_mode='min',
      preservation_policy=policies.AnyPreservationPolicy(
        [policies.LatestN(keep), best]
      ),
    )
    try:
      self._manager = ocp.CheckpointManager(
        self.path,
        options=options,
        item_handlers=ocp.StandardCheckpointHandler(),
      )
    except Exception as error:
      for step in _listed(self.path):
        self._notes(step)
      raise ValueError(f'{self.path} cannot be opened: {error}') from error
    self.wait()

  @property
  def steps(self) -> list[int]:
    """The steps that can be restored, in increasing order."""
    return sorted(self._manager.all_steps())

  @property
  def latest_step(self) -> int | None:
    """The newest step, or None when nothing was saved."""
    return max(self.steps, default=None)

  @property
  def best_step(self) -> int | None:
    """The step of the lowest finite loss; None when no loss was given."""
    self.wait()
    losses = {n: _loss(self._notes(n)) for n in self.steps}
    best = min(losses, key=lambda n: (losses[n], -n), default=None)
    return None if best is None or losses[best] == math.inf else best

  def save(
    self,
    state: TrainState,
    step: int,
    metrics: Mapping[str, float] | None = None,
    *,
    wait: bool = False,
  ) -> bool:
    """Saves `state` as checkpoint `step`; False when it is saved already.

    `metrics` may hold the validation 'loss', by which the best is kept.
    `wait` returns only when the files are complete.
    """
    if int(state.step) != step:
      raise ValueError(
        f'checkpoint {step} would hold a state of {int(state.step)} updates; '
        'a checkpoint named n means n updates applied'
      )
    new = step not in self.steps
    if new:
      self.wait()
      # NumPy makes a checkpoint independent of devices and processes.
      host = jax.tree.map(np.array, state)
      notes = {k: float(v) for k, v in (metrics or {}).items()}
      self._manager.save(
        step,
        args=ocp.args.StandardSave(host),
        metrics=notes | {'crc32': checksum(host)},
        force=True,
      )
    if wait:
      self.wait()
    return new

  def restore(self, template: TrainState, step: Step = 'latest') -> TrainState:
    """Returns the saved state as uncommitted arrays of the default device.

    template: a state of arrays or `jax.ShapeDtypeStruct`s; the restored tree
      has exactly its structure, shapes and dtypes, else a ValueError says
      what differs.
    """
    return self._read(step, template, lambda saved: saved)

  def restore_params(self, template: Params, step: Step = 'latest') -> Params:
    """Returns the parameters alone, without knowing the optimiser.

    They are the averaged ones where the run kept them.
    """

    def select(saved: Mapping[str, Any]) -> Params:
      kept = bool(jax.tree.leaves(saved['ema_params']))
      return saved['ema_params' if kept else 'params']

    return self._read(step, template, select)

  def wait(self) -> None:
    """Blocks until the save under way is complete."""
    self._manager.wait_until_finished()
    if self._writes:
      shutil.rmtree(self.path / _DELETED, ignore_errors=True)

  def close(self) -> None:
    """Completes the save under way and frees the threads."""
    self.wait()
    self._manager.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def resolve(self, step: Step) -> int:
    """Turns 'latest', 'best' or a number into a step that exists.

    The best is the latest where no checkpoint has a validation loss.
    """
    self.wait()
    steps = self.steps
    if not steps:
      raise ValueError(f'{self.path} holds no checkpoint')
    if step == 'best':
      best = self.best_step
      return steps[-1] if best is None else best
    if step == 'latest':
      return steps[-1]
    if step not in steps:
      raise ValueError(
        f'{self.path} has no checkpoint {step!r}; choose one of {steps}, '
        "'latest' or 'best'"
      )
    return step

  def _read(self, step: Step, template: Any, select: Any) -> Any:
    """Reads a checkpoint, checks it, and gives its part `template`'s form."""
    step = self.resolve(step)
    try:
      with _quiet_tensorstore():
        tree = self._manager.item_metadata(step).tree
      shapes = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), dict(tree))
      selected = select(shapes)
    except Exception as error:
      raise ValueError(self._damaged(step)) from error
    differ = differences(selected, template)
    if differ:
      more = f' (and {len(differ) - 1} more)' if differ[1:] else ''
      raise ValueError(
        f'{self.path / str(step)} was saved by another model or optimiser: '
        f'{differ[0]}{more}; use the config of that run, or choose another '
        '--workdir'
      )
    try:
      with _quiet_tensorstore():
        saved = self._manager.restore(
          step, args=ocp.args.StandardRestore(shapes)
        )
    except Exception as error:
      raise ValueError(self._damaged(step)) from error
    # Compression does not notice every flipped bit, hence the checksum.
    if checksum(saved) != self._notes(step).get('crc32'):
      raise ValueError(self._damaged(step))
    leaves = by_name(select(saved))
    # A copy: these arrays will be donated, and must own their memory.
    return jax.tree_util.tree_map_with_path(
      lambda path, _: jnp.array(leaves[leaf_name(path)]), template
    )

  def _notes(self, step: int) -> dict[str, float]:
    """Reads a checkpoint's metrics and its checksum."""
    try:
      return json.loads((self.path / f'{step}/metrics/metrics').read_text())
    except (OSError, ValueError) as error:
      raise ValueError(self._damaged(step)) from error

  def _damaged(self, step: int) -> str:
    """Says in one line which checkpoint cannot be read and what to do."""
    others = [n for n in _listed(self.path) if n < step]
    then = f'resume from checkpoint {others[-1]}' if others else 'start afresh'
    return (
      f'{self.path / str(step)} is damaged, or no checkpoint of cgqn_jax; '
      f'delete that folder to {then} (older checkpoints here: {others}), or '
      'choose another --workdir'
    )


def _loss(metrics: Mapping[str, float]) -> float:
  """Returns the loss that ranks a checkpoint; inf for none and for NaN."""
  loss = metrics.get('loss', math.inf)
  return math.inf if math.isnan(loss) else loss


def _listed(path: pathlib.Path) -> list[int]:
  """Returns the steps that have a folder, readable or not."""
  return sorted(int(p.name) for p in path.glob('*') if p.name.isdigit())


def _not_from_orbax(record: logging.LogRecord) -> bool:
  return f'{os.sep}orbax{os.sep}' not in record.pathname


@contextlib.contextmanager
def _quiet_tensorstore() -> Iterator[None]:
  """Keeps a failed read to its one exception.

  The reads still under way when the first one fails come back to an event
  loop that is closed, and each would print a traceback.
  """
  previous = sys.unraisablehook

  def hook(args: Any) -> None:
    if 'Event loop is closed' not in str(args.exc_value):
      previous(args)

  sys.unraisablehook = hook
  try:
    yield
  except Exception:
    time.sleep(0.1)  # until they have come back
    raise
  finally:
    sys.unraisablehook = previous


def leaf_name(path: Any) -> str:
  """Writes JAX's key path of a leaf as its name."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def by_name(tree: Any) -> dict[str, Any]:
  """Returns the leaves of a tree under their names."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {leaf_name(path): leaf for path, leaf in leaves}


def checksum(tree: Any) -> int:
  """Returns the CRC-32 of all NumPy leaves, in the order of their names."""
  crc = 0
  for key, leaf in sorted(by_name(tree).items()):
    crc = zlib.crc32(leaf.tobytes(), zlib.crc32(key.encode(), crc))
  return crc


def differences(there: Any, here: Any) -> list[str]:
  """Says, a line per leaf, which shapes and dtypes differ between two trees."""
  old, new = (
    {k: f'{x.dtype}{list(x.shape)}' for k, x in by_name(tree).items()}
    for tree in (there, here)
  )
  return [
    f'{k} is {old.get(k, "absent")} there and {new.get(k, "absent")} here'
    for k in sorted(old | new)
    if old.get(k) != new.get(k)
  ]
