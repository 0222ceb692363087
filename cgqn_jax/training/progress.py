"""What a training tells whoever watches it: lines, and one of progress."""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import io
import math
import os
import shutil
import sys
import time
from typing import TextIO

import numpy as np
import tqdm


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


def duration(seconds: float) -> str:
  """45 s, 12 min, 2 h 40 min or 9 days 3 h."""
  minutes = round(seconds / 60)
  if seconds < 99.5:
    return f'{seconds:.0f} s'
  if minutes < 100:
    return f'{minutes} min'
  hours = round(seconds / 3600)
  if hours < 48:
    return f'{minutes // 60} h {minutes % 60} min'
  return f'{hours // 24} days {hours % 24} h'


class Progress:
  """A line on stderr: step, time left, errors, speed, share of waiting.

  Rewritten in place on a terminal; elsewhere a line every `interval` seconds.
  Errors are in one scale, so that they compare over a whole run: the loss is
  not, for the pixel-variance changes it.
  """

  def __init__(
    self,
    total: int,
    start: int = 0,
    *,
    pauses: Mapping[str, int] | None = None,
    runs: int = 1,
    interval: float = 10.0,
  ) -> None:
    """Begins at update `start` of `total`.

    Args:
      total: updates of the whole run.
      start: updates that are applied already.
      pauses: what stops the updates, and after how many of them each time; 0
        for at the end alone. Their time is no part of `lap`.
      runs: how often each is made then.
      interval: seconds between two lines.
    """
    self._stderr = Safe(sys.stderr)
    self._live = live = self._stderr.isatty()
    self._bar = tqdm.tqdm(
      total=total,
      initial=start,
      file=self._stderr if live else _Lines(),
      mininterval=0.5 if live else interval,
      maxinterval=math.inf,
      miniters=1,
      dynamic_ncols=live,
      bar_format='{desc}',
      position=0,  # whatever other lines there were in this process
    )
    self._pauses = dict(pauses or {})
    # How many are still to come.
    self._due = {
      what: runs * (-(-total // every) - start // every if every else 1)
      for what, every in self._pauses.items()
    }
    self._spent = dict.fromkeys(['waiting', *self._pauses], 0.0)
    self._took: dict[str, float] = {}  # by each kind of pause, the last time
    self._compiled: set[str] = set()
    # Steps, seconds without pauses, and those of them spent waiting: at the
    # first update here, at the last, and at that of the last `lap`.
    self._first: np.ndarray | None = None
    self._last: np.ndarray | None = None
    self._lap: np.ndarray | None = None
    self._rate: float | None = None  # updates per second, of the last minutes
    self._validated = ''

  @contextlib.contextmanager
  def timed(self, what: str) -> Iterator[None]:
    """Counts the time spent inside, as 'waiting' for data or as a pause."""
    start = time.monotonic()
    try:
      yield
    finally:
      seconds = time.monotonic() - start
      self._spent[what] += seconds
      if what in self._pauses:
        self._took[what] = seconds
        if self._last is not None:  # else it is made up for, before all others
          self._due[what] = max(0, self._due[what] - 1)

  @contextlib.contextmanager
  def compiling(self, what: str) -> Iterator[None]:
    """Says of the first of a kind that it compiles, and how long it took."""
    if what in self._compiled:
      yield
      return
    self._compiled.add(what)
    start = time.monotonic()
    self.say(f'{what}: compiling ...')
    yield
    taken = duration(time.monotonic() - start)
    self.say(f'{what}: {taken}, compiling included')

  def validated(self, name: str, mse: float) -> None:
    """Notes what validation found: the name of an error, and its value."""
    self._validated = f', {name} {_in_scale(mse)}'

  def update(self, step: int, *, mse: float, kl: float) -> None:
    """Notes that `step` updates are applied; shows the line when it is due.

    Args:
      step: which.
      mse: of the frames of this update, in [0, 1]; NaN where there is none.
      kl: of this update, in nats.
    """
    paused = sum(self._spent[what] for what in self._pauses)
    before, seconds = self._last, time.monotonic() - paused
    self._last = np.array([step, seconds, self._spent['waiting']])
    if self._lap is None:  # the update that compiled
      self._first = self._lap = self._last
    else:
      self._note_rate(before)
    rate, left = self._rate, self.left()
    waited = self._since_lap().get('data_share', 0.0)
    line = (
      f'{step:,}/{self._bar.total:,}, '
      f'{"?" if left is None else duration(left)} left, '
      f'MSE x 1e-3 {_in_scale(mse)}{self._validated}, kl {kl:.4g}, '
      f'{speed(rate) if rate else "?"}, waiting for data {waited:.0%}'
    )
    if self._live:  # one that is wrapped could not be rewritten
      line = line[: shutil.get_terminal_size().columns - 1]
    self._bar.set_description_str(line, refresh=False)
    self._bar.update(step - self._bar.n)
    if step == self._bar.total:
      self._bar.close()

  def _note_rate(self, before: np.ndarray) -> None:
    """The mean of the last two minutes or so; at first, of all there was.

    A mean over time, of updates per second: one of seconds per update would
    hold on to a pause that nobody timed (Ctrl-Z) for a quarter of an hour.
    """
    updates, seconds, _ = self._last - before
    if updates <= 0:  # noted already
      return
    seconds = max(seconds, 1e-9)
    every = max(self._last[1] - self._first[1], seconds)
    weight = max(seconds / every, 1 - math.exp(-seconds / 120))
    rate = self._rate or 0.0
    self._rate = rate + weight * (updates / seconds - rate)

  def left(self) -> float | None:
    """Seconds to go, with the pauses timed so far; None before two updates."""
    if self._rate is None:
      return None
    seconds = (self._bar.total - self._last[0]) / self._rate
    return seconds + sum(s * self._due[what] for what, s in self._took.items())

  def untimed(self) -> dict[str, int]:
    """The pauses to come that are no part of `left` yet: how many of each."""
    kinds = [what for what in self._pauses if what not in self._took]
    return {what: self._due[what] for what in kinds if self._due[what]}

  def measured(self, seconds: float) -> bool:
    """Tells whether so many seconds of updates have been timed."""
    return self._rate is not None and self._last[1] - self._first[1] >= seconds

  @property
  def rate(self) -> float:
    """Updates per second; only once `measured`."""
    return self._rate

  def lap(self) -> dict[str, float]:
    """Returns updates_per_second and data_share since the last call.

    Without pauses and without the first update, which compiles; {} where
    nothing else was.
    """
    rates, self._lap = self._since_lap(), self._last
    return rates

  def _since_lap(self) -> dict[str, float]:
    """What `lap` returns."""
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


def speed(rate: float) -> str:
  """Updates per second, or seconds per update where these are long."""
  if rate < 0.5:
    return f'{1 / rate:.3g} s/update'
  return f'{rate:.3g} updates/s'


def _in_scale(mse: float) -> str:
  """An MSE x 1e-3, three digits; a question mark where there is none."""
  if not math.isfinite(mse):
    return '?'
  return f'{1e3 * mse:.3g}' if abs(mse) < 1 else f'{1e3 * mse:,.0f}'


class _Lines(io.TextIOBase):
  """Stderr where it is no terminal: a line each time, not one rewritten."""

  def write(self, text: str) -> int:
    line = text.strip('\r\n ')
    if line:
      Safe(sys.stderr).write(f'{line}\n')
    return len(text)

  def flush(self) -> None:
    Safe(sys.stderr).flush()
