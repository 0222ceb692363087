"""Draws the learning curves of runs over each other.

  python experiments/curves.py --workdirs=runs/a,runs/b --out=curves.png

MSE and KL of training (smoothed) and of validation, from W/metrics.jsonl, and
the least MSE of many samples where validation drew them. With --seconds, of an
update on an idle machine, over minutes: minutes to quality.
"""

import pathlib

from absl import flags
import matplotlib
import numpy as np

from cgqn_jax import cli
from cgqn_jax.training.metrics_log import read_metrics

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

_WORKDIRS = flags.DEFINE_list('workdirs', None, 'Folders of trainings.')
_LABELS = flags.DEFINE_list('labels', None, 'Names in the legend.')
_OUT = flags.DEFINE_string('out', 'curves.png', 'Picture to write.')

_SECONDS = flags.DEFINE_list(
  'seconds', None, 'Seconds an update of each run; the axis is in minutes.'
)

_PANELS = (
  ('mse', 'MSE a pixel value of the targets'),
  ('kl', 'KL, nats'),
  ('best_of_30', 'best of 30 samples, MSE of the hidden frames'),
)


def smooth(values: np.ndarray, rows: int = 5) -> np.ndarray:
  """Mean over the last `rows` logged rows."""
  total = np.cumsum(np.insert(values, 0, 0.0))
  first = np.maximum(np.arange(len(values)) + 1 - rows, 0)
  last = np.arange(len(values)) + 1
  return (total[last] - total[first]) / (last - first)


def draw() -> None:
  """Reads the flags and writes the picture."""
  labels = _LABELS.value or [pathlib.Path(w).name for w in _WORKDIRS.value]
  if len(labels) != len(_WORKDIRS.value):
    raise ValueError(
      f'{len(labels)} --labels for {len(_WORKDIRS.value)} --workdirs'
    )
  minutes = _minutes_an_update()
  figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout='constrained')
  for workdir, label, scale in zip(
    _WORKDIRS.value, labels, minutes, strict=True
  ):
    if not (pathlib.Path(workdir) / 'metrics.jsonl').exists():
      raise ValueError(f'{workdir} is not a workdir: it has no metrics.jsonl')
    # The first update's row would stretch the axis over two decades.
    train = [row for row in read_metrics(workdir) if row['step'] > 1]
    valid = read_metrics(workdir, split='validation')
    for axis, (name, _) in zip(axes, _PANELS, strict=True):
      shown = [row for row in train if name in row]
      values = smooth(np.array([row[name] for row in shown], float))
      x = [scale * row['step'] for row in shown]
      (line,) = axis.plot(x, values, label=label)
      points = [
        (scale * row['step'], row[name]) for row in valid if name in row
      ]
      axis.plot(
        *np.array(points).reshape((-1, 2)).T,
        'o' if shown else 'o-',
        color=line.get_color(),
        markersize=4,
      )
  for axis, (_, title) in zip(axes, _PANELS, strict=True):
    axis.set(xlabel='minutes' if _SECONDS.value else 'updates', title=title)
    axis.grid(alpha=0.3)
  axes[0].set_yscale('log')
  axes[2].set_yscale('log')
  axes[1].legend(frameon=False)
  figure.suptitle('lines: training batches; dots: validation', fontsize=9)
  figure.savefig(_OUT.value, dpi=110)
  print(f'wrote {_OUT.value}')


def _minutes_an_update() -> list[float]:
  """The scale of each run's axis: 1 where it is in updates."""
  if _SECONDS.value is None:
    return [1.0] * len(_WORKDIRS.value)
  try:
    seconds = [float(x) for x in _SECONDS.value]
  except ValueError:
    seconds = []
  if len(seconds) != len(_WORKDIRS.value) or min(seconds) <= 0:
    raise ValueError(
      f'--seconds is {",".join(_SECONDS.value)!r}; give a number above 0 for '
      f'each of the {len(_WORKDIRS.value)} --workdirs'
    )
  return [x / 60 for x in seconds]


if __name__ == '__main__':
  cli.start(draw, required=('workdirs',))
