"""Whether the time to reach frame t grows with t, in numbers and in Markdown.

Paper, section 4.1. Every round of the measurement has a slope and a ratio of
its own; given are their medians over rounds, with the interval between two
ranks that the sign test leaves: true whatever the distribution of the noise.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from cgqn_jax.benchmark import jump
from cgqn_jax.comparison import markdown
from cgqn_jax.comparison.markdown import Rows
from cgqn_jax.figures import style

TITLES = {
  'one': 'frame t alone',
  'all': f'all frames from {jump.CONTEXT} to t',
}


class Spread(NamedTuple):
  """A median over rounds, and its interval of 95 %, or None if unknown."""

  median: float
  interval: tuple[float, float] | None


class Fit(NamedTuple):
  """How a model's cost depends on t.

  slope: of the least squares line, in seconds a further frame.
  ratio: of the time at the last t to that at the first.
  growth: of the same line through the FLOPs.
  """

  slope: Spread
  ratio: Spread
  growth: float

  @property
  def verdict(self) -> str:
    """'flat' says that no slope is shown, not that there is none."""
    if self.slope.interval is None:
      return 'too few timings'
    low, high = self.slope.interval
    return 'grows' if low > 0 else 'shrinks' if high < 0 else 'flat'


def fit(rows: Rows) -> Fit:
  """Of one model's rows of one mode, by t."""
  frames = np.array([row['frame'] for row in rows], float)
  timings = np.array([row['timings'] for row in rows])
  flops = np.array([row['flops'] for row in rows], float)
  return Fit(
    spread(_slope(frames, timings)),
    spread(timings[-1] / timings[0]),
    float(_slope(frames, flops)),
  )


def spread(values: np.ndarray) -> Spread:
  """The median of values [R], and between which of them its true value lies.

  The ranks are those of the sign test; fewer than 6 values have none at 95 %.
  """
  count, median = len(values), float(np.median(values))
  rank = int(stats.binom.ppf(0.025, count, 0.5))
  if rank < 1:
    return Spread(median, None)
  ranked = np.sort(values)
  return Spread(median, (float(ranked[rank - 1]), float(ranked[-rank])))


def told(its: Spread, form: str, scale: float = 1.0) -> str:
  """As '0.31 [0.28, 0.35]'."""
  text = f'{scale * its.median:{form}}'
  if its.interval is None:
    return text
  low, high = (f'{scale * value:{form}}' for value in its.interval)
  return f'{text} [{low}, {high}]'


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Of the least squares lines through x [T] and y [T, ...]."""
  centred = x - x.mean()
  return np.tensordot(centred, y, 1) / (centred @ centred)


def groups(rows: Rows, mode: str) -> dict[str, list[Mapping[str, Any]]]:
  """The rows of a mode by model, each by t."""
  found: dict[str, list[Mapping[str, Any]]] = {}
  for row in sorted(rows, key=lambda row: row['frame']):
    if row['mode'] == mode:
      found.setdefault(row['model'], []).append(row)
  order = dict.fromkeys(row['model'] for row in rows)
  return {name: found[name] for name in order if name in found}


def protocol(rows: Rows) -> str:
  """What all rows have in common, in a sentence or two."""
  row = rows[0]
  size, last = row['frame_size'], row['trained_frames'] - 1
  videos, samples = row['batch_size'], row['num_samples']
  counts = f'videos at once: {videos}, samples of each: {samples}'
  text = (
    f'Preset {row["preset"]}, {size}x{size}, context: frames 0 to '
    f'{row["context"] - 1}; {counts}; '
    'fresh parameters, as time does not depend on them; videos of training '
    f'end at frame {last}. Medians of {row["repeats"]} timings in rounds over '
    f'all models and t, on {row["devices"]} x {row["device"]}, '
    f'{row["date"][:10]}, jax {row["versions"]["jax"]}; intervals: 95 %, '
    'of the median over rounds, by the sign test.'
  )
  starred = any(row['model'] == 'cgqn_context' for row in rows)
  return text + (f' {style.FOOTNOTE}.' if starred else '')


def tables(rows: Rows) -> str:
  """Milliseconds and GFLOP at each t, for one frame and for all."""
  parts = [protocol(rows)]
  for mode, title in TITLES.items():
    its = groups(rows, mode)
    parts += [
      f'Milliseconds to draw {title}:',
      _seconds(its),
      f'GFLOP to draw {title}:',
      _flops(its),
    ]
  return '\n\n'.join(parts)


def _seconds(its: Mapping[str, Rows]) -> str:
  lines = []
  for name, rows in its.items():
    fitted = fit(rows)
    lines.append(
      [
        style.name(name),
        f'{rows[0]["parameters"]:,}',
        *(f'{1e3 * row["seconds"]:.4g}' for row in rows),
        told(fitted.slope, '.3g', 1e3),
        told(fitted.ratio, '.3g'),
        fitted.verdict,
      ]
    )
  frames = _frames(its)
  ratio = f't = {frames[-1]} over {frames[0]}'
  heads = ['model', 'parameters', *(f't = {t}' for t in frames)]
  return markdown.table(
    [*heads, 'ms a further frame', ratio, 'in t'], lines, left=1
  )


def _flops(its: Mapping[str, Rows]) -> str:
  lines = [
    [
      style.name(name),
      *(f'{row["flops"] / 1e9:.4g}' for row in rows),
      f'{fit(rows).growth / 1e6:.4g}',
    ]
    for name, rows in its.items()
  ]
  heads = ['model', *(f't = {t}' for t in _frames(its))]
  return markdown.table([*heads, 'MFLOP a further frame'], lines, left=1)


def _frames(its: Mapping[str, Rows]) -> list[int]:
  return [row['frame'] for row in next(iter(its.values()))]
