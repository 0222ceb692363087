"""What a run keeps of itself: scalars and pictures.

Scalars go to W/metrics.jsonl and TensorBoard. Each row of metrics.jsonl is one
JSON object with `step` (updates applied), `split` ('train' or 'validation') and
the values; training rows hold at least loss, kl and log_likelihood. JSON has no
NaN: a value that is not finite is null there, and itself in TensorBoard.
"""

from collections.abc import Mapping
import contextlib
import math
import os
import pathlib
import time
from typing import Any

import jax
import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cgqn_jax import images
from cgqn_jax.files import append_jsonl, read_jsonl, write_jsonl


class Log(contextlib.AbstractContextManager):
  """Writes a run's scalars and pictures into its workdir.

  On resume at `step`, rows of later steps are dropped, so that a run that was
  killed leaves the rows of one that was not. Log step n before checkpoint n
  is saved. `write` is False on all processes but the first: nothing happens.
  """

  def __init__(
    self, workdir: str | pathlib.Path, *, step: int = 0, write: bool = True
  ) -> None:
    self._write = write
    if not write:
      return
    self._folder = pathlib.Path(workdir)
    (self._folder / 'images').mkdir(parents=True, exist_ok=True)
    self._path = self._folder / 'metrics.jsonl'
    if self._path.exists():
      rows = [row for row in _rows(self._path) if row['step'] <= step]
      write_jsonl(self._path, rows)
    self._path.touch()
    self._board = _Board(self._folder / 'tensorboard', step + 1)

  def scalars(
    self, step: int, values: Mapping[str, Any], *, split: str = 'train'
  ) -> None:
    """Writes one row; values are numbers or one-dimensional arrays of them.

    An array becomes a list in the row and name/0, name/1, ... in TensorBoard.
    """
    if not self._write:
      return
    row = {'step': step, 'split': split}
    for name, value in values.items():
      plain = np.asarray(value).tolist()
      row[name] = jax.tree.map(lambda x: x if math.isfinite(x) else None, plain)
      tag = f'{split}/{name}'
      if isinstance(plain, list):
        for i, item in enumerate(plain):
          self._board.add(step, summary.scalar(f'{tag}/{i}', item))
      else:
        self._board.add(step, summary.scalar(tag, plain))
    append_jsonl(self._path, row)
    self._board.flush()

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a uint8 [H, W, 3] picture as W/images/<name>_<step>.png."""
    if self._write:
      path = picture_path(self._folder, step, name)
      # Whole or not there, so that a run which goes on knows what it lacks.
      temporary = path.with_name(f'.{path.name}.tmp')
      images.save_png(temporary, image)
      os.replace(temporary, path)
      self._board.add(step, summary.image(name, image, dataformats='HWC'))
      self._board.flush()

  def __exit__(self, *_: object) -> None:
    if self._write:
      with contextlib.suppress(OSError):  # all rows are flushed already
        self._board.close()


class _Board:
  """TensorBoard's file, written by the thread that calls.

  `tensorboardX.SummaryWriter` has a thread of its own: its error, of a full
  disk, would not reach the run, and its queue would then hold the run up.
  """

  def __init__(self, folder: pathlib.Path, purge_step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    self._writer = EventsWriter(str(folder / 'events'))
    # What an earlier start wrote of these steps and later ones is not shown.
    self._write(step=purge_step, file_version='brain.Event:2')
    began = SessionLog(status=SessionLog.START)
    self._write(step=purge_step, session_log=began)
    self.flush()

  def add(self, step: int, values: Any) -> None:
    """Writes what `tensorboardX.summary` makes."""
    self._write(step=step, summary=values)

  def flush(self) -> None:
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()

  def _write(self, **fields: Any) -> None:
    self._writer.write_event(Event(wall_time=time.time(), **fields))


def picture_path(
  workdir: str | pathlib.Path, step: int, name: str
) -> pathlib.Path:
  """The file of `Log.image`."""
  return pathlib.Path(workdir) / 'images' / f'{name}_{step:08d}.png'


def row_at(
  workdir: str | pathlib.Path, step: int, split: str
) -> dict[str, Any] | None:
  """The last row of a split at a step; None if there is none."""
  path = pathlib.Path(workdir) / 'metrics.jsonl'
  rows = _rows(path) if path.exists() else []
  found = [r for r in rows if (r['step'], r['split']) == (step, split)]
  return found[-1] if found else None


def read_metrics(
  workdir: str | pathlib.Path, split: str = 'train'
) -> list[dict[str, Any]]:
  """Returns the rows of one split of a run, oldest first."""
  path = pathlib.Path(workdir) / 'metrics.jsonl'
  if not path.exists():
    raise ValueError(f'{path} does not exist: nothing was logged there')
  return [row for row in _rows(path) if row['split'] == split]


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
  return read_jsonl(path, ('step', 'split'), growing=True)
