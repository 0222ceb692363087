"""What a run says of itself: scalars, pictures and a line of progress.

Scalars go to W/metrics.jsonl and TensorBoard. Each row
of metrics.jsonl is one JSON object with `step` (updates applied), `split`
('train' or 'validation') and the values; training rows hold at least loss, kl
and log_likelihood. JSON has no NaN: a value that is not finite is null there,
and itself in TensorBoard.
"""

from collections.abc import Iterator, Mapping
import contextlib
import io
import json
import math
import pathlib
import sys
import time
from typing import Any, NamedTuple, Self

import numpy as np
from tensorboardX import SummaryWriter
import tqdm

from cgqn_jax import images
from cgqn_jax.files import replace_text


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

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._write:
      self._rows.close()
      self._board.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


class Progress:
  """A line on stderr: step, loss, KL, speed, share of waiting, time to go.

  Rewritten in place on a terminal; elsewhere a line every `every` seconds.
  """

  def __init__(self, total: int, start: int = 0, every: float = 10.0) -> None:
    live = sys.stderr.isatty()
    self._bar = tqdm.tqdm(
      total=total,
      initial=start,
      file=sys.stderr if live else _Lines(),
      mininterval=0.5 if live else every,
      maxinterval=math.inf,
      miniters=1,
      dynamic_ncols=live,
      unit=' updates',
      bar_format='{n:,}/{total:,}  {rate_noinv_fmt}  {remaining} left{postfix}',
    )
    self._spent = {'waiting': 0.0, 'paused': 0.0}
    # Without pauses: at the last update, and at that of the last `lap`.
    self._last: _Mark | None = None
    self._lap: _Mark | None = None

  def waiting(self) -> contextlib.AbstractContextManager[None]:
    """Counts the time spent inside as waiting for data."""
    return self._timed('waiting')

  def paused(self) -> contextlib.AbstractContextManager[None]:
    """Keeps the time spent inside out of `lap`."""
    return self._timed('paused')

  @contextlib.contextmanager
  def _timed(self, what: str) -> Iterator[None]:
    start = time.monotonic()
    try:
      yield
    finally:
      self._spent[what] += time.monotonic() - start

  def update(self, step: int, *, loss: float, kl: float) -> None:
    """Notes that `step` updates are applied; shows the line when it is due."""
    now = time.monotonic() - self._spent['paused']
    self._last = _Mark(now, step, self._spent['waiting'])
    self._lap = self._lap or self._last
    waited = _rates(self._lap, self._last).get('data_share', 0.0)
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
    since, self._lap = self._lap, self._last
    return _rates(since, self._last) if since and self._last else {}

  def say(self, text: str) -> None:
    """Prints a line of its own, above the line of progress."""
    self._bar.write(text, file=sys.stderr)


class _Lines(io.TextIOBase):
  """Stderr where it is no terminal: a line each time, not one rewritten."""

  def write(self, text: str) -> int:
    line = text.strip('\r\n ')
    if line:
      sys.stderr.write(f'{line}\n')
    return len(text)

  def flush(self) -> None:
    sys.stderr.flush()


class _Mark(NamedTuple):
  """After `step` updates: seconds gone, and those of them spent waiting."""

  seconds: float
  step: int
  waited: float


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
