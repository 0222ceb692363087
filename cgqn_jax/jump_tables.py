"""Whether the time to reach frame t grows with t, in numbers and in Markdown.

Paper, section 4.1. Slopes and ratios are of the medians; their intervals come
from drawing the rounds of the measurement anew, all of a model's frames
together, so that what slows a whole round down slows all of them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cgqn_jax import jump, markdown, plots
from cgqn_jax.markdown import Rows

_BOOTSTRAPS = 10_000
TITLES = {
  'one': 'frame t alone',
  'all': f'all frames from {jump.CONTEXT} to t',
}


class Fit(NamedTuple):
  """How a model's time depends on t; intervals of 95 %.

  slope: of the least squares line, in seconds a further frame.
  ratio: of the time at the last t to that at the first.
  growth_flops: of the same line through the FLOPs.
  """

  slope: float
  slope_95: tuple[float, float]
  ratio: float
  ratio_95: tuple[float, float]
  growth_flops: float

  @property
  def verdict(self) -> str:
    """'flat' says that no slope is shown, not that there is none."""
    low, high = self.slope_95
    return 'grows' if low > 0 else 'shrinks' if high < 0 else 'flat'


def fit(rows: Rows) -> Fit:
  """Of one model's rows of one mode, by t."""
  frames = np.array([row['frame'] for row in rows], float)
  timings = np.array([row['timings'] for row in rows])
  rounds = timings.shape[1]
  drawn = np.random.default_rng(0).integers(rounds, size=(_BOOTSTRAPS, rounds))
  medians = np.median(timings[:, drawn], axis=2)
  median = np.median(timings, axis=1)
  return Fit(
    float(_slope(frames, median)),
    _interval(_slope(frames, medians)),
    float(median[-1] / median[0]),
    _interval(medians[-1] / medians[0]),
    float(_slope(frames, np.array([row['flops'] for row in rows], float))),
  )


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Of the least squares lines through x [T] and y [T, ...]."""
  centred = x - x.mean()
  return np.tensordot(centred, y, 1) / (centred @ centred)


def _interval(values: np.ndarray) -> tuple[float, float]:
  low, high = np.quantile(values, (0.025, 0.975))
  return float(low), float(high)


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
  counts = f'{row["batch_size"]} video(s), {row["num_samples"]} sample(s) each'
  text = (
    f'{size}x{size}, context: frames 0 to {row["context"] - 1}; {counts}; '
    f'fresh parameters, as time does not depend on them; videos of training '
    f'end at frame {last}. Medians of {row["repeats"]} timings in rounds over '
    f'all models and t, on {row["devices"]} x {row["device"]}, '
    f'{row["date"][:10]}, jax {row["versions"]["jax"]}; intervals: 95 %, '
    'bootstrap over the rounds.'
  )
  starred = any(row['model'] == 'cgqn_context' for row in rows)
  return text + (f' {plots.FOOTNOTE}.' if starred else '')


def tables(rows: Rows) -> str:
  """Milliseconds and GFLOP at each t, for one frame and for all."""
  parts = [f'Preset {rows[0]["preset"]}, {protocol(rows)}']
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
    low, high = (1e3 * value for value in fitted.slope_95)
    least, most = fitted.ratio_95
    lines.append(
      [
        plots.name(name),
        f'{rows[0]["parameters"]:,}',
        *(f'{1e3 * row["seconds"]:.3g}' for row in rows),
        f'{1e3 * fitted.slope:.3g} [{low:.3g}, {high:.3g}]',
        f'{fitted.ratio:.2f} [{least:.2f}, {most:.2f}]',
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
      plots.name(name),
      *(f'{row["flops"] / 1e9:.4g}' for row in rows),
      f'{fit(rows).growth_flops / 1e6:.4g}',
    ]
    for name, rows in its.items()
  ]
  heads = ['model', *(f't = {t}' for t in _frames(its))]
  return markdown.table([*heads, 'MFLOP a further frame'], lines, left=1)


def _frames(its: Mapping[str, Rows]) -> list[int]:
  return [row['frame'] for row in next(iter(its.values()))]
