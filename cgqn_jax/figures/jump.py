"""The jump figure: time and FLOPs to reach frame t against t.

Paper, section 4.1: CGQN goes to any frame at once, sequential models through
all frames before it.
"""

from typing import Any

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cgqn_jax.benchmark import jump as jump_lib
from cgqn_jax.benchmark.jump import Rows
from cgqn_jax.comparison import markdown
from cgqn_jax.figures import style

TITLES = {
  'one': 'frame t alone',
  'all': f'all frames from {jump_lib.CONTEXT} to t',
}
# Marker and dashes, for lines lie on each other where models cost the same.
_LOOKS = {
  'cgqn': ('o', '-'),
  'cgqn_context': ('s', (0, (1, 2))),
  'gqn': ('x', (0, (4, 3))),
  'sssm': ('^', '-'),
  'sv2p': ('v', '-'),
  'cdna': ('D', (0, (4, 3))),
}


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
  for column, (mode, title) in enumerate(TITLES.items()):
    numbers[mode] = {}
    for name, group in jump_lib.groups(rows, mode).items():
      _line(axes[0, column], name, group, 'seconds', 1e3)
      _line(axes[1, column], name, group, 'flops', 1e-9)
      numbers[mode][name] = _numbers(group)
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
  text = _caption(rows)
  style.caption(figure, text)
  return figure, {'caption': text, 'modes': numbers}


def _line(axis: Axes, name: str, rows: Rows, field: str, scale: float) -> None:
  """Medians, and the quartiles where there are any."""
  frames, tint = [row['frame'] for row in rows], style.color(name)
  marker, dashes = _LOOKS.get(name, ('.', '-'))
  axis.plot(
    frames, [scale * row[field] for row in rows], color=tint, lw=1.3,
    ls=dashes, marker=marker, ms=3.5, label=style.name(name),
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


def _numbers(rows: Rows) -> dict[str, Any]:
  """The numbers of a line as drawn, and how it grows."""
  names = ('frame', 'seconds', 'first_quartile', 'third_quartile', 'flops')
  fit = jump_lib.fit(rows)
  return {name: [row[name] for row in rows] for name in names} | {
    'parameters': rows[0]['parameters'],
    'slope_s': fit.slope._asdict(),
    'ratio': fit.ratio._asdict(),
    'slope_flops': fit.growth,
    'verdict': fit.verdict,
  }


def _caption(rows: Rows) -> str:
  slopes = [
    f'{style.name(name)} {jump_lib.fit(group).slope.text(".3g", 1e3)}'
    for name, group in jump_lib.groups(rows, 'one').items()
  ]
  return (
    f'{protocol(rows)} Bands: quartiles; dotted: the last frame of '
    'training. Milliseconds that one frame takes more for each frame that it '
    f'lies further ahead, by least squares: {", ".join(slopes)}.'
  )


def protocol(rows: Rows) -> str:
  """What all rows have in common, in a sentence or two."""
  row = rows[0]
  size, last = row['frame_size'], row['trained_frames'] - 1
  videos, samples = row['batch_size'], row['num_samples']
  return (
    f'Preset {row["preset"]}, {size}x{size}, context: frames 0 to '
    f'{row["context"] - 1}; videos at once: {videos}, samples of each: '
    f'{samples}; fresh parameters, as time does not depend on them; videos of '
    f'training end at frame {last}. Medians of {row["repeats"]} timings in '
    f'rounds over all models and t, on {row["devices"]} x {row["device"]}, '
    f'{row["date"][:10]}, jax {row["versions"]["jax"]}; intervals: 95 %, '
    'of the median over rounds, by the sign test.'
  ) + style.footnote({row['model'] for row in rows})


def tables(rows: Rows) -> str:
  """Milliseconds and GFLOP at each t, for one frame and for all."""
  frames = sorted({row['frame'] for row in rows})
  times = [f't = {t}' for t in frames]
  growth = ['ms a further frame', f't = {frames[-1]} over {frames[0]}', 'in t']
  parts = [protocol(rows)]
  for mode, title in TITLES.items():
    seconds, flops = [], []
    for model, group in jump_lib.groups(rows, mode).items():
      name, fit = style.name(model), jump_lib.fit(group)
      seconds.append(
        [
          name,
          f'{group[0]["parameters"]:,}',
          *(f'{1e3 * row["seconds"]:.4g}' for row in group),
          fit.slope.text('.3g', 1e3),
          fit.ratio.text('.3g'),
          fit.verdict,
        ]
      )
      gflop = [f'{row["flops"] / 1e9:.4g}' for row in group]
      flops.append([name, *gflop, f'{fit.growth / 1e6:.4g}'])
    parts += [
      f'Milliseconds to draw {title}:',
      markdown.table(['model', 'parameters', *times, *growth], seconds, left=1),
      f'GFLOP to draw {title}:',
      markdown.table(
        ['model', *times, 'MFLOP per further frame'], flops, left=1
      ),
    ]
  return '\n\n'.join(parts)
