"""Draws the learning curves of runs over each other.

  python experiments/curves.py --workdirs=runs/a,runs/b --out=curves.png

MSE and KL of training (smoothed) and of validation, from W/metrics.jsonl, and
the least MSE of many samples where validation drew them. With --seconds, of an
update on an idle machine, over minutes: minutes to quality.
"""

import math

from absl import flags
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax import cli, files
from cgqn_jax.training.metrics_log import read_metrics

_WORKDIRS = flags.DEFINE_list('workdirs', None, 'Folders of trainings.')
_LABELS = flags.DEFINE_list('labels', None, 'Names in the legend.')
_OUT = cli.path_flag('out', 'curves.png', 'Picture to write, a PNG or PDF.')
_SECONDS = flags.DEFINE_list(
  'seconds', None, 'Seconds an update of each run; the axis is in minutes.'
)

_PANELS = {
  'mse': 'MSE a pixel value of the targets',
  'kl': 'KL, nats',
  'best_of_30': 'best of 30 samples, MSE of the hidden frames',
}
_SMOOTHED = 5  # logged rows of which the mean is drawn


def draw() -> None:
  """Reads the flags and writes the picture."""
  workdirs = [files.as_path(workdir) for workdir in _WORKDIRS.value]
  labels = _LABELS.value or [workdir.name for workdir in workdirs]
  if len(labels) != len(workdirs):
    raise ValueError(f'{len(labels)} --labels for {len(workdirs)} --workdirs')
  figure = Figure(figsize=(15, 4), layout='constrained')
  suffix = _OUT.value.suffix.lower()[1:]
  if suffix not in (known := figure.canvas.get_supported_filetypes()):
    raise ValueError(
      f'--out={_OUT.value}: its suffix says no format; use one of '
      f'{", ".join(f".{name}" for name in known)}'
    )
  files.try_file(_OUT.value)
  axes = figure.subplots(1, 3)
  for workdir, label, minutes in zip(
    workdirs, labels, minutes_per_update(), strict=True
  ):
    if not (workdir / 'metrics.jsonl').exists():
      raise ValueError(f'{workdir} is not a workdir: it has no metrics.jsonl')
    # The first update's row would stretch the axis over two decades.
    train = [row for row in read_metrics(workdir) if row['step'] > 1]
    valid = read_metrics(workdir, split='validation')
    for axis, metric in zip(axes, _PANELS, strict=True):
      steps, values = read(train, metric)
      means = [
        np.mean(values[max(0, last - _SMOOTHED) : last])
        for last in range(1, len(values) + 1)
      ]
      (line,) = axis.plot(minutes * steps, means, label=label)
      marks = 'o' if len(steps) else 'o-'
      steps, values = read(valid, metric)
      axis.plot(
        minutes * steps, values, marks, color=line.get_color(), markersize=4
      )
  for axis, title in zip(axes, _PANELS.values(), strict=True):
    axis.set(xlabel='minutes' if _SECONDS.value else 'updates', title=title)
    axis.grid(alpha=0.3)
  axes[0].set_yscale('log')
  axes[2].set_yscale('log')
  axes[1].legend(frameon=False)
  figure.suptitle('lines: training batches; dots: validation', fontsize=9)
  with files.replacing(_OUT.value) as file:
    figure.savefig(file, format=suffix, dpi=110)
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
