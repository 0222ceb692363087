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
from typing import Any
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from cgqn_jax.files import replace_text
from cgqn_jax.training.update import TrainState
from cgqn_jax.types import Params

Step = int | str  # a number, also as text, 'latest' or 'best'

# Old checkpoints are renamed into this folder before they are deleted, so
# that a kill in the middle leaves no half of one.
_DELETED = '.deleted'
# Of errors that say nothing of the files themselves.
_NO_DAMAGE = ('Too many open files', 'Permission denied', 'Cannot allocate')


def _patience() -> int:
  """Seconds that Orbax may take for a save.

  It measures them by the system's clock, which may jump ahead, from 1970 to
  today where a machine has just learnt the time. A process alone waits for
  nothing but its disk, so it may take forever; of several, one may be dead.
  """
  return 4 * 10**9 if jax.process_count() == 1 else 20 * 60


class Checkpoints(contextlib.AbstractContextManager):
  """Saves into one folder, and keeps the last `keep` and the best.

  The best has the lowest loss; give that of validation. Files are written in
  the background and appear by a rename when complete. All processes of a run
  call `save`, the first writes. On leaving, the last save is completed.
  """

  def __init__(self, folder: pathlib.Path, *, keep: int = 3) -> None:
    if keep < 1:
      raise ValueError(f'keep={keep} checkpoints: keep at least 1')
    self._folder, self._keep = folder.absolute(), keep
    self._proven = False  # whether a save was read back
    self._under_way: int | None = None  # the step that is being saved
    check_name(folder)
    if folder.exists() and not folder.is_dir():
      raise ValueError(f'{folder} is a file; checkpoints need a folder')
    # Orbax logs a dozen lines a save, and warns of what is meant here; its
    # errors are raised as well.
    logging.getLogger('absl').addFilter(_not_from_orbax)
    options = ocp.CheckpointManagerOptions(
      cleanup_tmp_directories=True,
      best_fn=_loss,  # Orbax writes our notes only where there is one
      best_mode='min',
      # Losses come after a save, and Orbax would not know them: `_prune`.
      preservation_policy=ocp.checkpoint_managers.LatestN(n=None),
      async_options=ocp.options.AsyncOptions(
        timeout_secs=_patience(),
        # Else it waits for its own folders, by the clock too.
        create_directories_asynchronously=False,
      ),
    )
    steps = saved_steps(folder)
    self._losses = {n: _loss(_read_notes(folder, n)) for n in steps}
    try:
      self._manager = ocp.CheckpointManager(
        self._folder,
        options=options,
        item_handlers=ocp.StandardCheckpointHandler(),
      )
    except Exception as error:
      raise ValueError(f'{folder} cannot be opened: {error}') from error
    _drop_late_ends()
    self.wait()

  def save(
    self, state: TrainState, loss: float | None = None, *, wait: bool = False
  ) -> None:
    """Saves `state` under its number of updates, unless it is saved already.

    It is copied to the host first, so the caller may donate its buffers at
    once. `wait` returns only when the files are complete. The first save is
    always waited for, and read back.

    Raises:
      ValueError: where this save, or the one before, did not succeed.
    """
    step = int(state.step)
    self.wait()
    if step not in saved_steps(self._folder):
      # NumPy makes a checkpoint independent of devices and processes.
      host = jax.tree.map(np.array, state)
      notes = {} if loss is None else {'loss': float(loss)}
      with self._saving(step):
        self._manager.save(
          step,
          args=ocp.args.StandardSave(host),
          metrics=notes | {'crc32': checksum(host)},
          force=True,
        )
      self._losses[step] = _loss(notes)
      if not self._proven:
        self.wait()
        self._prove(step)
    if wait:
      self.wait()

  def note_loss(self, step: int, loss: float) -> None:
    """Adds the loss of validation to a checkpoint, if it is there."""
    self.wait()
    if step not in saved_steps(self._folder):
      return
    notes = _read_notes(self._folder, step)
    if 'loss' not in notes and jax.process_index() == 0:
      notes = {'loss': float(loss)} | notes
      replace_text(_notes_path(self._folder, step), json.dumps(notes))
    self._losses[step] = _loss({'loss': float(loss)})
    self._prune()

  def wait(self) -> None:
    """Blocks until the save under way is complete; raises what stopped it."""
    with self._saving(self._under_way):
      self._manager.wait_until_finished()
    self._prune()

  @contextlib.contextmanager
  def _saving(self, step: int | None) -> Iterator[None]:
    """Turns what stops a save into one line."""
    self._under_way = step
    try:
      yield
    except Exception as error:
      raise ValueError(
        f'{self._folder / str(step)} could not be saved: {_first_line(error)}'
      ) from error

  def _prove(self, step: int) -> None:
    """Reads a checkpoint back, all its numbers; ValueError if they differ."""
    try:
      _read(self._folder, step)
    except ValueError as error:
      if jax.process_index() == 0:
        shutil.rmtree(self._folder / str(step), ignore_errors=True)
      reason = error.__cause__ or 'other numbers came back'
      raise ValueError(
        f'{self._folder} does not give back what was saved there '
        f'({_first_line(reason)}); choose another --workdir'
      ) from error
    self._proven = True

  def _prune(self) -> None:
    """Deletes all checkpoints but the last `keep` and the best."""
    if jax.process_index() != 0:
      return
    steps = saved_steps(self._folder)
    ranked = [n for n in steps if self._losses.get(n, math.inf) < math.inf]
    best = min(ranked, key=lambda n: (self._losses[n], -n), default=None)
    deleted = self._folder / _DELETED
    shutil.rmtree(deleted, ignore_errors=True)  # of one that was killed
    for step in steps[: -self._keep]:
      if step != best:
        deleted.mkdir(exist_ok=True)
        os.replace(self._folder / str(step), deleted / str(step))
    shutil.rmtree(deleted, ignore_errors=True)

  def __exit__(self, kind: Any, *_: object) -> None:
    try:
      self.wait()
    except Exception:
      if kind is None:  # else the error under way says more
        raise
    finally:
      with contextlib.suppress(Exception):  # raised by `wait` already
        self._manager.close()


def check_name(folder: pathlib.Path) -> None:
  """ValueError for a folder whose name Orbax takes for a pattern."""
  path = os.path.abspath(folder)
  if odd := sorted(set(path) & set('*?[]\\')):
    raise ValueError(
      f'{path} has {" ".join(odd)} in its name, which checkpoints cannot have '
      '(it is read as a pattern); choose another --workdir'
    )


def saved_steps(folder: pathlib.Path) -> list[int]:
  """The steps of the complete checkpoints, in increasing order."""
  return sorted(int(p.name) for p in folder.glob('*') if p.name.isdigit())


def resolve(folder: pathlib.Path, step: Step) -> int:
  """Turns 'latest', 'best' or a number into a step that exists.

  The best is the latest where no checkpoint has a validation loss.
  """
  if not folder.is_dir():
    raise ValueError(f'{folder} does not exist: no checkpoint was saved')
  steps = saved_steps(folder)
  if not steps:
    raise ValueError(f'{folder} holds no checkpoint')
  if step == 'latest':
    return steps[-1]
  if step == 'best':
    losses = {n: _loss(_read_notes(folder, n)) for n in steps}
    return min(steps, key=lambda n: (losses[n], -n))
  number = int(step) if str(step).isdigit() else step
  if number not in steps:
    raise ValueError(
      f'{folder} has no checkpoint {step!r}; choose one of {steps}, '
      "'latest' or 'best'"
    )
  return number


def restore(
  folder: pathlib.Path, template: TrainState, step: Step = 'latest'
) -> TrainState:
  """Returns the saved state as uncommitted arrays of the default device.

  Args:
    folder: of the checkpoints.
    template: a state of arrays or `jax.ShapeDtypeStruct`s; the restored tree
      has exactly its structure, shapes and dtypes.
    step: of the checkpoint.

  Raises:
    ValueError: where there is none, it is damaged, or differs from `template`.
  """
  step = resolve(folder, step)
  return _like(template, _read(folder, step), folder / str(step))


def restore_params(
  folder: pathlib.Path, template: Params, step: Step = 'latest'
) -> Params:
  """Does the same for the parameters alone, without knowing the optimiser.

  They are the averaged ones where the run kept them.
  """
  step = resolve(folder, step)
  return _like(template, read_params(folder, step), folder / str(step))


def read_params(folder: pathlib.Path, step: int) -> dict[str, Any]:
  """Returns the averaged parameters, or the last, whatever their model."""
  saved = _read(folder, step)
  averaged = bool(jax.tree.leaves(saved['ema_params']))
  return saved['ema_params' if averaged else 'params']


def _read(folder: pathlib.Path, step: int) -> dict[str, Any]:
  """All NumPy arrays of a checkpoint, after a look at their checksum."""
  crc = _read_notes(folder, step).get('crc32')
  _drop_late_ends()
  try:
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
      saved = reader.restore(
        folder.absolute() / f'{step}/default', args=ocp.args.StandardRestore()
      )
  except Exception as error:
    for known in _NO_DAMAGE:
      if known in str(error):
        path = folder / str(step)
        raise ValueError(f'{path} cannot be read: {known}') from error
    raise ValueError(_damaged(folder, step)) from error
  # Compression does not notice every flipped bit, hence the checksum.
  if checksum(saved) != crc:
    raise ValueError(_damaged(folder, step))
  return saved


def _drop_late_ends() -> None:
  """Drops, from now on, what reads and writes say that end after an error.

  They come back to an event loop that is closed, and each prints a traceback,
  some of them long after the error was told.
  """
  previous = sys.unraisablehook
  if getattr(previous, 'drops_late_ends', False):
    return

  def hook(unraisable: Any) -> None:
    if 'Event loop is closed' not in str(unraisable.exc_value):
      previous(unraisable)

  hook.drops_late_ends = True
  sys.unraisablehook = hook


def _read_notes(folder: pathlib.Path, step: int) -> dict[str, float]:
  """A checkpoint's loss, if it has one, and its checksum."""
  try:
    notes = json.loads(_notes_path(folder, step).read_text('utf-8'))
  except (OSError, ValueError) as error:
    for known in _NO_DAMAGE:
      if known in str(error):
        raise ValueError(f'{folder / str(step)}: {known}') from error
    raise ValueError(_damaged(folder, step)) from error
  if not isinstance(notes, dict):
    raise ValueError(_damaged(folder, step))
  return notes


def _notes_path(folder: pathlib.Path, step: int) -> pathlib.Path:
  return folder / f'{step}/metrics/metrics'


def _like(template: Any, saved: Any, path: pathlib.Path) -> Any:
  """Gives what was saved in `path` the form of `template`."""
  leaves, expected = by_name(saved), by_name(template)
  there, here = (
    {name: f'{x.dtype}{list(x.shape)}' for name, x in tree.items()}
    for tree in (leaves, expected)
  )
  differ = [
    f'{name} is {there.get(name, "absent")} there and '
    f'{here.get(name, "absent")} here'
    for name in sorted(there | here)
    if there.get(name) != here.get(name)
  ]
  if differ:
    more = f' (and {len(differ) - 1} more)' if differ[1:] else ''
    raise ValueError(
      f'{path} was saved by another model or optimiser: {differ[0]}{more}; use '
      'the config of that run, or choose another --workdir'
    )
  # A copy: these arrays will be donated, and must own their memory.
  return jax.tree_util.tree_map_with_path(
    lambda path, _: jnp.array(leaves[leaf_name(path)]), template
  )


def _damaged(folder: pathlib.Path, step: int) -> str:
  """Says in one line which checkpoint cannot be read and what to do."""
  others = [n for n in saved_steps(folder) if n < step]
  if others:
    remedy = (
      f'move that folder away to resume from checkpoint {others[-1]} (older '
      f'checkpoints here: {others}), or choose another --workdir'
    )
  else:
    remedy = (
      'no older one is here, so keep it: copy it again from where it came, '
      'or begin anew in another --workdir'
    )
  path = folder / str(step)
  return f'{path} is damaged, or no checkpoint of cgqn_jax; {remedy}'


def _first_line(error: object) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0]


def _loss(notes: Mapping[str, float]) -> float:
  """Returns the loss that ranks a checkpoint; inf for none and for NaN."""
  loss = notes.get('loss', math.inf)
  return math.inf if math.isnan(loss) else loss


def _not_from_orbax(record: logging.LogRecord) -> bool:
  return f'{os.sep}orbax{os.sep}' not in record.pathname


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
  for name, leaf in sorted(by_name(tree).items()):
    crc = zlib.crc32(leaf.tobytes(), zlib.crc32(name.encode(), crc))
  return crc
