"""The jump figure: time and FLOPs to reach frame t against t.

Paper, section 4.1: CGQN goes to any frame at once, sequential models through
all frames before it.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cgqn_jax.benchmark import jump_tables
from cgqn_jax.comparison.markdown import Rows
from cgqn_jax.figures import style

# Lines lie on each other where models cost the same.
_MARKERS = {
  'cgqn': 'o',
  'cgqn_context': 's',
  'gqn': 'x',
  'sssm': '^',
  'sv2p': 'v',
  'cdna': 'D',
}
_DASHES = {'gqn': (0, (4, 3)), 'cgqn_context': (0, (1, 2)), 'cdna': (0, (4, 3))}


@matplotlib.rc_context(style.STYLE)
def draw(rows: Rows) -> tuple[Figure, dict[str, Any]]:
  """Seconds above, FLOPs below; one frame left, all frames right.

  Args:
    rows: of `jump.load`.

  Returns:
    The figure, and the numbers in it and in its caption.
  """
  figure = Figure(figsize=(7.4, 5.6), layout='constrained')
  axes = figure.subplots(2, 2, sharex=True, sharey='row')
  numbers: dict[str, Any] = {}
  fits: dict[str, dict[str, jump_tables.Fit]] = {}
  for column, (mode, title) in enumerate(jump_tables.TITLES.items()):
    numbers[mode], fits[mode] = {}, {}
    for name, its in jump_tables.groups(rows, mode).items():
      _line(axes[0, column], name, its, 'seconds', 1e3)
      _line(axes[1, column], name, its, 'flops', 1e-9)
      fits[mode][name] = jump_tables.fit(its)
      numbers[mode][name] = _numbers(its, fits[mode][name])
    axes[0, column].set_title(title)
    axes[1, column].set_xlabel('t, frames from 0')
  axes[0, 0].set_ylabel('milliseconds')
  axes[1, 0].set_ylabel('GFLOP')
  frames = sorted({row['frame'] for row in rows})
  for axis in axes.flat:
    _scales(axis, frames, rows[0]['trained_frames'] - 1)
  handles, labels = axes[0, 0].get_legend_handles_labels()
  figure.legend(
    handles, labels, loc='outside upper center', ncols=len(labels),
    handlelength=3,
  )  # fmt: skip
  text = _caption(rows, fits['one'])
  style.caption(figure, text)
  return figure, {'caption': text, 'modes': numbers}


def _line(axis: Axes, name: str, rows: Rows, field: str, scale: float) -> None:
  """Medians, and the quartiles where there are any."""
  frames, tint = [row['frame'] for row in rows], style.color(name)
  axis.plot(
    frames, [scale * row[field] for row in rows], color=tint, lw=1.3,
    ls=_DASHES.get(name, '-'), marker=_MARKERS.get(name, '.'), ms=3.5,
    label=style.name(name),
  )  # fmt: skip
  if field == 'seconds':
    low, high = (
      [scale * row[quartile] for row in rows]
      for quartile in ('first_quartile', 'third_quartile')
    )
    axis.fill_between(frames, low, high, color=tint, alpha=0.2, lw=0)


def _scales(axis: Axes, frames: list[int], trained: int) -> None:
  axis.set(xscale='log', yscale='log')
  axis.set_xticks(frames, [str(frame) for frame in frames])
  axis.xaxis.set_minor_locator(ticker.NullLocator())
  # Numbers as they are said, not as powers of ten.
  axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f'{y:g}'))
  axis.yaxis.set_minor_formatter(ticker.NullFormatter())
  axis.grid(alpha=0.25, lw=0.5)
  if frames[0] < trained < frames[-1]:
    axis.axvline(trained, color=style.FAINT, lw=0.8, ls=(0, (1.5, 1.5)))


def _numbers(rows: Rows, fitted: jump_tables.Fit) -> dict[str, Any]:
  """Of one line of each row of panels, as drawn, and how it grows."""
  names = ('frame', 'seconds', 'first_quartile', 'third_quartile', 'flops')
  return (
    {name: [row[name] for row in rows] for name in names}
    | {'parameters': rows[0]['parameters']}
    | {'slope_s': fitted.slope._asdict(), 'ratio': fitted.ratio._asdict()}
    | {'slope_flops': fitted.growth, 'verdict': fitted.verdict}
  )


def _caption(rows: Rows, fits: Mapping[str, jump_tables.Fit]) -> str:
  slopes = [
    f'{style.name(name)} {jump_tables.told(its.slope, ".3g", 1e3)}'
    for name, its in fits.items()
  ]
  return (
    f'{jump_tables.protocol(rows)} Bands: quartiles; dotted: the last frame of '
    'training. Milliseconds that one frame takes more for each frame that it '
    f'lies further ahead, by least squares: {", ".join(slopes)}.'
  )
