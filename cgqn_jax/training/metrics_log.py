"""What a run says of itself: scalars, pictures and a line of progress.

Scalars go to W/metrics.jsonl and TensorBoard. Each row of metrics.jsonl is one
JSON object with `step` (updates applied), `split` ('train' or 'validation') and
the values; training rows hold at least loss, kl and log_likelihood. JSON has no
NaN: a value that is not finite is null there, and itself in TensorBoard.
"""

from collections.abc import Iterator, Mapping
import contextlib
import io
import math
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
from tensorboardX import SummaryWriter
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
    self._folder.mkdir(parents=True, exist_ok=True)
    self._path = self._folder / 'metrics.jsonl'
    if self._path.exists():
      rows = [row for row in _rows(self._path) if row['step'] <= step]
      write_jsonl(self._path, rows)
    self._board = SummaryWriter(
      str(self._folder / 'tensorboard'), purge_step=step + 1
    )

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
          self._board.add_scalar(f'{tag}/{i}', item, step)
      else:
        self._board.add_scalar(tag, plain, step)
    append_jsonl(self._path, row)

  def image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a uint8 [H, W, 3] picture as W/images/<name>_<step>.png."""
    if self._write:
      path = self._folder / 'images' / f'{name}_{step:08d}.png'
      images.save_png(path, image)
      self._board.add_image(name, image, step, dataformats='HWC')

  def __exit__(self, *_: object) -> None:
    if self._write:
      self._board.close()


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
