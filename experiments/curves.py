"""Draws the learning curves of runs over each other.

  python experiments/curves.py --workdirs=runs/a,runs/b --out=curves.png

MSE and KL of training (smoothed) and of validation, from W/metrics.jsonl, and
the least MSE of many samples where validation drew them. With --seconds, of an
update on an idle machine, over minutes: minutes to quality. The legend names
the model of a run and what sets it apart from the others, unless --labels does.
"""

import math

from absl import flags
import matplotlib
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax import cli, files
from cgqn_jax.figures import style
from cgqn_jax.training.metrics_log import read_metrics
from cgqn_jax.training.workdir import read_workdir

_WORKDIRS = flags.DEFINE_list('workdirs', None, 'Folders of trainings.')
_LABELS = flags.DEFINE_list('labels', None, 'Names in the legend, in words.')
_OUT = cli.path_flag(
  'out', 'curves.png', 'Picture to write: .png, .pdf or .svg.'
)
_SECONDS = flags.DEFINE_list(
  'seconds', None, 'Seconds an update of each run; the axis is in minutes.'
)

_PANELS = {
  'mse': 'MSE a pixel value of the targets',
  'kl': 'KL, nats',
  'best_of_30': 'best of 30 samples, MSE of the hidden frames',
}
_WIDE = 170  # letters in a line of the legend
_SMOOTHED = 5  # logged rows of which the mean is drawn


@matplotlib.rc_context(style.STYLE)
def draw() -> None:
  """Reads the flags and writes the picture."""
  workdirs = [files.as_path(workdir) for workdir in _WORKDIRS.value]
  labels = _LABELS.value
  if labels is not None and len(labels) != len(workdirs):
    raise ValueError(f'{len(labels)} --labels for {len(workdirs)} --workdirs')
  if _OUT.value.suffix.lower()[1:] not in style.FORMATS:
    raise ValueError(
      f'--out={_OUT.value}: its suffix says no format; use one of '
      f'{", ".join(f".{name}" for name in style.FORMATS)}'
    )
  for workdir in workdirs:
    if not (workdir / 'metrics.jsonl').exists():
      raise ValueError(f'{workdir} is not a workdir: it has no metrics.jsonl')
  files.try_file(_OUT.value)
  labels = labels or style.run_names([read_workdir(one) for one in workdirs])
  figure = Figure(figsize=(11, 3.4), layout='constrained')
  axes = figure.subplots(1, 3)
  for workdir, label, minutes in zip(
    workdirs, labels, minutes_per_update(), strict=True
  ):
    # The first update's row would stretch the axis over two decades.
    train = [row for row in read_metrics(workdir) if row['step'] > 1]
    valid = read_metrics(workdir, split='validation')
    for axis, metric in zip(axes, _PANELS, strict=True):
      steps, values = read(train, metric)
      means = [
        np.mean(values[max(0, last - _SMOOTHED) : last])
        for last in range(1, len(values) + 1)
      ]
      (line,) = axis.plot(minutes * steps, means, label=label, lw=1)
      marks = 'o' if len(steps) else 'o-'
      steps, values = read(valid, metric)
      axis.plot(minutes * steps, values, marks, color=line.get_color(), ms=3.5)
  for axis, (metric, title) in zip(axes, _PANELS.items(), strict=True):
    axis.set(xlabel='minutes' if _SECONDS.value else 'updates', title=title)
    axis.grid(alpha=0.3)
    if not any(line.get_xdata().size for line in axis.lines):
      axis.set(xticks=[], yticks=[])
      axis.text(
        0.5, 0.5, 'these runs have none', transform=axis.transAxes, ha='center'
      )
    elif metric != 'kl':
      axis.set_yscale('log')
  figure.legend(
    *axes[0].get_legend_handles_labels(),
    loc='outside upper center',
    ncols=max(1, min(len(labels), _WIDE // (8 + max(map(len, labels))))),
    title='lines: training batches; dots: validation',
  )
  style.save(figure, _OUT.value)
  print(f'wrote {_OUT.value}')


def read(rows: list[dict], metric: str) -> np.ndarray:
  """[2, R] steps and values of the rows that have a metric."""
  pairs = [(row['step'], row[metric]) for row in rows if metric in row]
  return np.array(pairs, float).reshape((-1, 2)).T


def minutes_per_update() -> list[float]:
  """The scale of each run's axis: 1 where it is in updates."""
  if _SECONDS.value is None:
    return [1.0] * len(_WORKDIRS.value)
  try:
    seconds = [float(x) for x in _SECONDS.value]
  except ValueError:
    seconds = []
  if len(seconds) != len(_WORKDIRS.value) or not all(
    0 < x < math.inf for x in seconds
  ):
    raise ValueError(
      f'--seconds is {",".join(_SECONDS.value)!r}; give a number above 0 for '
      f'each of the {len(_WORKDIRS.value)} --workdirs'
    )
  return [x / 60 for x in seconds]


if __name__ == '__main__':
  cli.start(draw, required=('workdirs',))
