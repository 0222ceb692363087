"""What a run says of itself: scalars, pictures and a line of progress.

Scalars go to W/metrics.jsonl and TensorBoard. Each row of metrics.jsonl is one
JSON object with `step` (updates applied), `split` ('train' or 'validation') and
the values; training rows hold at least loss, kl and log_likelihood. JSON has no
NaN: a value that is not finite is null there, and itself in TensorBoard.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import io
import math
import os
import pathlib
import sys
import time
from typing import Any, TextIO

import jax
import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
import tqdm

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


class Safe(io.TextIOBase):
  """Stdout or stderr that may be gone: what cannot be written is dropped.

  A terminal that was closed, a `head` that has read enough or a full disk
  under a log must not end a run.
  """

  def __init__(self, stream: TextIO) -> None:
    self._stream = stream

  @property
  def encoding(self) -> str:
    return self._stream.encoding

  def fileno(self) -> int:
    return self._stream.fileno()

  def isatty(self) -> bool:
    with contextlib.suppress(OSError, ValueError):
      return self._stream.isatty()
    return False

  def write(self, text: str) -> int:
    try:
      self._stream.write(text)
    except (OSError, ValueError) as error:  # ValueError: it is closed
      self._give_up(error)
    return len(text)

  def flush(self) -> None:
    try:
      self._stream.flush()
    except (OSError, ValueError) as error:
      self._give_up(error)

  def _give_up(self, error: Exception) -> None:
    """Nobody will read a broken pipe or a lost terminal any more.

    What Python still holds for it must not fail again when the program ends.
    """
    if getattr(error, 'errno', None) in (errno.EPIPE, errno.EIO):
      with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def say(text: str) -> None:
  """Prints a line to stdout, if it can be printed."""
  print(text, file=Safe(sys.stdout), flush=True)


class Progress:
  """A line on stderr: step, loss, KL, speed, share of waiting, time to go.

  Rewritten in place on a terminal; elsewhere a line every `every` seconds.
  """

  def __init__(self, total: int, start: int = 0, every: float = 10.0) -> None:
    self._stderr = Safe(sys.stderr)
    live = self._stderr.isatty()
    self._bar = tqdm.tqdm(
      total=total,
      initial=start,
      file=self._stderr if live else _Lines(),
      mininterval=0.5 if live else every,
      maxinterval=math.inf,
      miniters=1,
      dynamic_ncols=live,
      unit=' updates',
      bar_format='{n:,}/{total:,}  {rate_noinv_fmt}  {remaining} left{postfix}',
    )
    self._spent = {'waiting': 0.0, 'paused': 0.0}
    # Steps, seconds without pauses, and those of them spent waiting: at the
    # last update, and at that of the last `lap`.
    self._last: np.ndarray | None = None
    self._lap: np.ndarray | None = None

  @contextlib.contextmanager
  def timed(self, what: str) -> Iterator[None]:
    """Counts the time spent inside as 'waiting' for data, or as 'paused'.

    What is paused is no part of `lap`.
    """
    start = time.monotonic()
    try:
      yield
    finally:
      self._spent[what] += time.monotonic() - start

  def update(self, step: int, *, loss: float, kl: float) -> None:
    """Notes that `step` updates are applied; shows the line when it is due."""
    seconds = time.monotonic() - self._spent['paused']
    self._last = np.array([step, seconds, self._spent['waiting']])
    if self._lap is None:
      self._lap = self._last
    waited = self._rates().get('data_share', 0.0)
    self._bar.set_postfix_str(
      f'loss {loss:.4g}, kl {kl:.4g}, waiting for data {waited:.0%}',
      refresh=False,
    )
    self._bar.update(step - self._bar.n)
    if step == self._bar.total:
      self._bar.close()

  def lap(self) -> dict[str, float]:
    """Returns updates_per_second and data_share since the last call.

    Without pauses and without the first update, which compiles; {} where
    nothing else was.
    """
    rates, self._lap = self._rates(), self._last
    return rates

  def _rates(self) -> dict[str, float]:
    """Since the last lap; {} where no update was."""
    updates, seconds, waited = self._last - self._lap
    if not updates:
      return {}
    return {
      'updates_per_second': updates / seconds,
      'data_share': waited / seconds,
    }

  def say(self, text: str) -> None:
    """Prints a line of its own, above the line of progress."""
    self._bar.write(text, file=self._stderr)


class _Lines(io.TextIOBase):
  """Stderr where it is no terminal: a line each time, not one rewritten."""

  def write(self, text: str) -> int:
    line = text.strip('\r\n ')
    if line:
      Safe(sys.stderr).write(f'{line}\n')
    return len(text)

  def flush(self) -> None:
    Safe(sys.stderr).flush()


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
