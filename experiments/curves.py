"""Draws the learning curves of runs over each other.

  python experiments/curves.py --workdirs=runs/a,runs/b --out=curves.png

MSE and KL of training (smoothed) and of validation, from W/metrics.jsonl.
"""

import pathlib

from absl import flags
import matplotlib
import numpy as np

from cgqn_jax import commands
from cgqn_jax.reporting import read_metrics

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

_WORKDIRS = flags.DEFINE_list('workdirs', None, 'Folders of trainings.')
_LABELS = flags.DEFINE_list('labels', None, 'Names in the legend.')
_OUT = flags.DEFINE_string('out', 'curves.png', 'Picture to write.')

_PANELS = (('mse', 'MSE a pixel value of the targets'), ('kl', 'KL, nats'))


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
  figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout='constrained')
  for workdir, label in zip(_WORKDIRS.value, labels, strict=True):
    if not (pathlib.Path(workdir) / 'metrics.jsonl').exists():
      raise ValueError(f'{workdir} is not a workdir: it has no metrics.jsonl')
    # The first update's row would stretch the axis over two decades.
    train = [row for row in read_metrics(workdir) if row['step'] > 1]
    valid = read_metrics(workdir, split='validation')
    for axis, (name, _) in zip(axes, _PANELS, strict=True):
      values = smooth(np.array([row[name] for row in train], float))
      (line,) = axis.plot([row['step'] for row in train], values, label=label)
      axis.plot(
        [row['step'] for row in valid],
        [row[name] for row in valid],
        'o',
        color=line.get_color(),
        markersize=4,
      )
  for axis, (_, title) in zip(axes, _PANELS, strict=True):
    axis.set(xlabel='updates', title=title)
    axis.grid(alpha=0.3)
  axes[0].set_yscale('log')
  axes[1].legend(frameon=False)
  figure.suptitle('lines: training batches; dots: validation', fontsize=9)
  figure.savefig(_OUT.value, dpi=110)
  print(f'wrote {_OUT.value}')


if __name__ == '__main__':
  commands.start(draw, required=('workdirs',))
