"""What a run says of itself: scalars, pictures and a line of progress.

Nothing of the paper. Scalars go to W/metrics.jsonl and TensorBoard. Each row
of metrics.jsonl is one JSON object with `step` (updates applied), `split`
('train' or 'validation') and the values; training rows hold at least loss, kl
and log_likelihood. JSON has no NaN: a value that is not finite is null there,
and itself in TensorBoard.
"""

import collections
from collections.abc import Callable, Iterator, Mapping
import contextlib
import datetime
import json
import math
import pathlib
import sys
import time
from typing import Any, NamedTuple, Self, TextIO

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary

from cgqn_jax import images
from cgqn_jax.training.workdir import replace_text


class Log:
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
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    self._images = workdir / 'images'
    rows = workdir / 'metrics.jsonl'
    _drop_rows_after(rows, step)
    self._rows = rows.open('a', buffering=1, encoding='utf-8')
    self._board = SummaryWriter(
      str(workdir / 'tensorboard'), purge_step=step + 1
    )

  def scalars(
    self, step: int, values: Mapping[str, Any], *, split: str = 'train'
  ) -> None:
    """Writes one row; values are numbers or one-dimensional arrays of them.

    An array becomes a list in the row and name/0, name/1, ... in TensorBoard.
    """
    if not self._write:
      return
    plain = {name: np.asarray(v).tolist() for name, v in values.items()}
    row = {'step': step, 'split': split} | _finite(plain)
    self._rows.write(json.dumps(row, allow_nan=False) + '\n')
    for name, value in plain.items():
      tag = f'{split}/{name}'
      if isinstance(value, list):
        for i, item in enumerate(value):
          self._board.add_scalar(f'{tag}/{i}', item, step)
      else:
        self._board.add_scalar(tag, value, step)

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a uint8 [H, W, 3] picture as W/images/<name>_<step>.png."""
    if self._write:
      images.save_png(self._images / f'{name}_{step:08d}.png', image)
      self._board.add_image(name, image, step, dataformats='HWC')

  def video(
    self,
    step: int,
    name: str,
    frames: np.ndarray,
    *,
    context: Any = None,
    fps: float = 4.0,
  ) -> None:
    """Writes [S, T, H, W, 3] frames, samples side by side, as a GIF."""
    if not self._write:
      return
    path = self._images / f'{name}_{step:08d}.gif'
    images.save_gif(path, frames, context=context, fps=fps)
    # TensorBoard animates a GIF given as an image; add_video wants moviepy.
    picture = Summary.Image(encoded_image_string=path.read_bytes())
    value = Summary.Value(tag=name, image=picture)
    self._board.file_writer.add_summary(Summary(value=[value]), step)

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._write:
      self._rows.close()
      self._board.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


class _Mark(NamedTuple):
  """After `step` updates: seconds gone, and those of them spent waiting."""

  seconds: float
  step: int
  waited: float


class Progress:
  """A line on stderr: step, loss, KL, speed, share of waiting, time to go.

  Rewritten in place on a terminal; elsewhere a line every `every` seconds.
  The speed shown is that of the last ten seconds or more, whatever they went
  into; that of `lap` is of updates alone.
  """

  def __init__(
    self,
    total: int,
    *,
    stream: TextIO | None = None,
    every: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
  ) -> None:
    self._total = total
    self._stream = sys.stderr if stream is None else stream
    self._live = self._stream.isatty()
    self._every = 0.5 if self._live else every
    self._clock = clock
    self._spent = {'waiting': 0.0, 'paused': 0.0}
    self._shown = -math.inf
    # Without pauses: at the last update, and at that of the last `lap`.
    self._last: _Mark | None = None
    self._lap: _Mark | None = None
    # With them, at most five a second.
    self._marks: collections.deque[_Mark] = collections.deque(maxlen=50)

  def waiting(self) -> contextlib.AbstractContextManager[None]:
    """Counts the time spent inside as waiting for data."""
    return self._timed('waiting')

  def paused(self) -> contextlib.AbstractContextManager[None]:
    """Keeps the time spent inside out of `lap`."""
    return self._timed('paused')

  @contextlib.contextmanager
  def _timed(self, what: str) -> Iterator[None]:
    start = self._clock()
    try:
      yield
    finally:
      self._spent[what] += self._clock() - start

  def update(self, step: int, *, loss: float, kl: float) -> None:
    """Notes that `step` updates are applied; shows the line when it is due."""
    now, waited = self._clock(), self._spent['waiting']
    self._last = _Mark(now - self._spent['paused'], step, waited)
    self._lap = self._lap or self._last
    if not self._marks or now - self._marks[-1].seconds >= 0.2:
      self._marks.append(_Mark(now, step, waited))
    if now - self._shown >= self._every or step == self._total:
      self._shown = now
      self._show(self._line(step, loss, kl), end=step == self._total)

  def lap(self) -> dict[str, float]:
    """Returns updates_per_second and data_share since the last call.

    Without pauses and without the first update, which compiles; {} where
    nothing else was.
    """
    since, self._lap = self._lap, self._last
    return _rates(since, self._last) if since and self._last else {}

  def say(self, text: str) -> None:
    """Prints a line of its own, above the line of progress."""
    self._show(text, end=True)

  def _line(self, step: int, loss: float, kl: float) -> str:
    parts = [f'{step:,}/{self._total:,}', f'loss {loss:.4g}', f'kl {kl:.4g}']
    rates = _rates(self._marks[0], self._marks[-1])
    if rates:
      speed = rates['updates_per_second']
      left = datetime.timedelta(seconds=round((self._total - step) / speed))
      parts += [
        f'{speed:.3g} updates/s',
        f'waiting for data {rates["data_share"]:.0%}',
        f'{left} left',
      ]
    return '  '.join(parts)

  def _show(self, text: str, *, end: bool) -> None:
    if self._live:
      text = f'\r{text}\x1b[K'
    self._stream.write(text + ('\n' if end or not self._live else ''))
    self._stream.flush()


def _rates(first: _Mark, last: _Mark) -> dict[str, float]:
  """Between two marks; {} where no update is between them."""
  seconds = last.seconds - first.seconds
  if last.step == first.step:
    return {}
  return {
    'updates_per_second': (last.step - first.step) / seconds,
    'data_share': (last.waited - first.waited) / seconds,
  }


def read_metrics(
  workdir: str | pathlib.Path, split: str = 'train'
) -> list[dict[str, Any]]:
  """Returns the rows of one split of a run, oldest first."""
  path = pathlib.Path(workdir) / 'metrics.jsonl'
  if not path.exists():
    raise ValueError(f'{path} does not exist: nothing was logged there')
  return [row for row in _rows(path) if row['split'] == split]


def _drop_rows_after(path: pathlib.Path, step: int) -> None:
  """Rewrites the file without later rows and without a half-written one."""
  if not path.exists():
    return
  kept = [row for row in _rows(path) if row['step'] <= step]
  text = ''.join(json.dumps(row) + '\n' for row in kept)
  if text != path.read_text('utf-8'):
    replace_text(path, text)


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
  """Parses the rows; a last line without its end was cut by a kill."""
  rows = []
  lines = path.read_text('utf-8').splitlines(keepends=True)
  for number, line in enumerate(lines, 1):
    if not line.endswith('\n'):
      break
    try:
      row = json.loads(line)
      row['step'], row['split']
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f'{path}, line {number}: not a row of step, split and values; repair '
        'or move the file'
      ) from error
    rows.append(row)
  return rows


def _finite(value: Any) -> Any:
  """Replaces what JSON cannot say by None."""
  if isinstance(value, dict):
    return {k: _finite(v) for k, v in value.items()}
  if isinstance(value, list):
    return [_finite(v) for v in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
