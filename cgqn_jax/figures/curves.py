"""Plots of an experiment's numbers: curves over training, ends of runs.

Paper, figures 5, 6 and 8 to 10.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax.comparison import statistics
from cgqn_jax.figures import style as style_lib


class Line(NamedTuple):
  """A run over training; `best` ones are drawn solid."""

  model: str
  steps: Sequence[float]
  values: Sequence[float]
  best: bool


class Gain(NamedTuple):
  """Nats by which CGQN beats GQN, mean and deviation over seeds; the oracle's.

  `deviations` is None for a single seed.
  """

  steps: Sequence[float]
  means: Sequence[float]
  deviations: Sequence[float] | None
  oracle: float


class Panel(NamedTuple):
  """Runs that compare, and levels that no run moves, by their names."""

  title: str
  lines: Sequence[Line]
  levels: dict[str, float]
  gain: Gain | None


class Ends(NamedTuple):
  """Of one model: curves [R, P] at `costs` [P], and the R final values."""

  model: str
  costs: Sequence[float]
  curves: np.ndarray
  finals: Sequence[float]


@matplotlib.rc_context(style_lib.STYLE)
def training_curves(
  panels: Sequence[Panel], label: str, protocol: str
) -> Figure:
  """Figures 6 and 8 to 10: a panel a pixel-variance, a line a run."""
  columns = min(len(panels), 4)
  rows = -(-len(panels) // columns)
  size = (max(2.9 * columns, 4.2), 3.9 * rows + 0.3)
  figure = Figure(figsize=size, layout='constrained')
  axes = figure.subplots(
    2 * rows, columns, squeeze=False, height_ratios=(1.9, 1) * rows
  )
  for i, panel in enumerate(panels):
    row, column = divmod(i, columns)
    above, below = axes[2 * row : 2 * row + 2, column]
    _training_panel(above, panel)
    above.sharex(below)
    above.tick_params(labelbottom=False)
    _gain_panel(below, panel)
    if not column:
      above.set_ylabel(label)
      below.set_ylabel('gain, nats')
  for axis in axes[-2:, len(panels) - columns * (rows - 1) :].flat:
    axis.remove()
  handles = {
    text: handle
    for axis in figure.axes
    for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
  }
  order = sorted(handles, key=_place)
  figure.legend(
    [handles[text] for text in order],
    order,
    loc='outside upper center',
    ncols=max(2, min(len(order), int(size[0] / 1.45))),
  )
  style_lib.caption(figure, protocol)
  return figure


def _place(text: str) -> tuple[bool, bool, bool, str]:
  """Models first in the legend, then what is below, anchors, other runs."""
  return 'other' in text, 'oracle' in text, 'gain' in text, text


def _gain_panel(axis: Axes, panel: Panel) -> None:
  """What one latent for all views buys, beside what it can buy."""
  axis.axhline(0, color=style_lib.INK, lw=0.6)
  axis.grid(alpha=0.25, lw=0.5)
  axis.set_xlabel('updates')
  axis.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  its = panel.gain
  if its is None:
    axis.text(
      0.5, 0.7, 'no seed of both', transform=axis.transAxes, ha='center',
      fontsize=6, color=style_lib.FAINT,
    )  # fmt: skip
    return
  axis.errorbar(
    its.steps, its.means, its.deviations, color=style_lib.INK, lw=1.2,
    marker='o', ms=2.5, capsize=2, elinewidth=0.7,
    label='gain of CGQN over GQN',
  )  # fmt: skip
  axis.axhline(
    its.oracle, color='#3a8f4d', lw=1, ls=(0, (5, 2)), label="the oracle's gain"
  )
  # Where the gain ends matters, not how far off it starts.
  start = len(its.means) // 3
  late = np.array(its.means[start:])
  spread = np.array((its.deviations or [0] * len(its.means))[start:])
  low = min(0, its.oracle, (late - spread).min())
  high = max(0, its.oracle, (late + spread).max())
  span = high - low
  axis.set_ylim(low - 0.1 * span, high + 0.1 * span)


def _training_panel(axis: Axes, panel: Panel) -> None:
  low, high = zoom(panel.lines)
  span, outside = high - low, []
  for text, level in panel.levels.items():
    # Only where it does not squeeze what shall be seen.
    if low - 0.6 * span <= level <= high + 0.6 * span:
      low, high = min(low, level), max(high, level)
      style = (0, (5, 2)) if 'joint' in text else (0, (1.5, 1.5))
      axis.axhline(
        level, color=style_lib.INK, lw=0.9, ls=style, label=text, zorder=1
      )
    else:
      outside.append(f'{text} {level:,.1f}')
  for line in sorted(panel.lines, key=lambda line: line.best):
    best = dict(lw=1.6, alpha=1.0, marker='o', ms=2.8, zorder=3)
    other = dict(lw=0.9, alpha=0.35, marker='o', ms=1.8, zorder=2)
    text = style_lib.name(line.model) + ('' if line.best else ', other runs')
    axis.plot(
      line.steps,
      line.values,
      color=style_lib.color(line.model),
      label=text,
      **(best if line.best else other),
    )
  span = high - low
  axis.set_ylim(low - 0.06 * span, high + 0.06 * span)
  axis.set_title(panel.title)
  axis.grid(alpha=0.25, lw=0.5)
  axis.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  axis.yaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.5g}'))
  if outside:
    # Curves come down from the left, so there is room below them.
    axis.text(
      0.03, 0.03, 'not in range:\n' + '\n'.join(outside),
      transform=axis.transAxes, ha='left', va='bottom', fontsize=6,
      color=style_lib.INK,
    )  # fmt: skip


def zoom(lines: Sequence[Line]) -> tuple[float, float]:
  """The range of the later part of training, where runs differ by little."""
  steps = np.concatenate([line.steps for line in lines])
  values = np.concatenate([np.asarray(line.values, float) for line in lines])
  late = values[(steps >= 0.6 * steps.max()) & np.isfinite(values)]
  low, high = float(late.min()), float(late.max())
  # Some of what came before, to show where it came from.
  high += 0.25 * (high - low)
  return low, min(high, float(np.nanmax(values)))


def _count(value: float, position: int) -> str:
  del position
  for scale, unit in ((1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M')):
    if abs(value) >= scale:
      return f'{value / scale:g}{unit}'
  return f'{value / 1e3:g}k' if abs(value) >= 1e4 else f'{value:,g}'


@matplotlib.rc_context(style_lib.STYLE)
def error_over_training(
  models: Sequence[Ends],
  levels: dict[str, float],
  labels: dict[str, str],
  sem: float,
  protocol: str,
) -> Figure:
  """Figure 5: means over runs with bars, then the ends of all runs.

  Args:
    models: in the order of the legend.
    levels: of what is no model, by name.
    labels: 'title', 'x' and 'y'.
    sem: bars are this many standard errors of the mean over runs.
    protocol: below the plots.
  """
  figure = Figure(figsize=(7.4, 3.2), layout='constrained')
  left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
  for place, its in enumerate(models):
    tint = style_lib.color(its.model)
    mean = its.curves.mean(0)
    count = len(its.curves)
    error = its.curves.std(0, ddof=1) / np.sqrt(count) if count > 1 else None
    bars = None if error is None else sem * error
    left.errorbar(
      its.costs, mean, bars, color=tint, lw=1.4, capsize=2, marker='o', ms=3,
      label=style_lib.name(its.model), elinewidth=0.8,
    )  # fmt: skip
    _ends(right, place, its, sem)
  for text, level in levels.items():
    for axis in (left, right):
      axis.axhline(
        level, color=style_lib.FAINT, lw=0.8, ls=(0, (4, 2)), zorder=1
      )
    right.annotate(
      text, (1, level), xycoords=('axes fraction', 'data'), fontsize=6,
      color=style_lib.INK, ha='right', va='bottom', xytext=(0, 1),
      textcoords='offset points',
    )  # fmt: skip
  anchors = max(levels.values(), default=0)
  for axis, values in (
    (left, [its.curves for its in models]),
    (right, [its.finals for its in models]),
  ):
    top = max(anchors, *(np.max(value) for value in values))
    axis.set_ylim(0, 1.06 * top)
    axis.grid(alpha=0.25, lw=0.5, axis='y')
  left.set_xlim(left=0)
  left.set(xlabel=labels['x'], ylabel=labels['y'], title=labels['title'])
  left.xaxis.set_major_formatter(ticker.FuncFormatter(_count))
  right.set_title('every run at its end; mean and intervals')
  names = [style_lib.name(its.model) for its in models]
  right.set_xticks(range(len(models)), names)
  right.set_xlim(-0.6, len(models) - 0.4)
  figure.legend(loc='outside upper center', ncols=len(models))
  style_lib.caption(figure, protocol)
  return figure


def _ends(axis: Axes, place: int, its: Ends, sem: float) -> None:
  """Dots of runs, their mean with SEM bars, the bootstrap interval beside."""
  tint, finals = style_lib.color(its.model), np.asarray(its.finals, float)
  offsets = np.linspace(-0.12, 0.12, len(finals)) if len(finals) > 1 else [0.0]
  axis.scatter(
    place - 0.18 + np.array(offsets), finals, s=11, color=tint, alpha=0.55, lw=0
  )
  spread = statistics.deviation(finals)
  bars = None if spread is None else sem * spread / np.sqrt(len(finals))
  axis.errorbar(
    place + 0.12, finals.mean(), bars, color=tint, marker='_', ms=10, capsize=3,
    lw=1.2,
  )  # fmt: skip
  if len(finals) > 1:
    low, high = statistics.of_mean(finals)
    axis.plot([place + 0.3] * 2, [low, high], color=tint, lw=3, alpha=0.45,
              solid_capstyle='butt')  # fmt: skip
