"""The table of differences between models, with their intervals.

Nothing of the paper, which shows bars of each model alone.
"""

from collections.abc import Mapping
import itertools
from typing import Any

import numpy as np

from cgqn_jax.comparison import markdown, results, statistics
from cgqn_jax.comparison.markdown import Rows

PerScene = Mapping[str, Mapping[str, np.ndarray]]


def table(rows: Rows, per_scene: PerScene) -> tuple[str, list[dict[str, Any]]]:
  """Each pair of models, A minus B, in Markdown and as rows of numbers.

  Args:
    rows: of runs.jsonl, at least one; failed runs are among them.
    per_scene: of the same runs, by name: what evaluate.py wrote.
  """
  rooms = 'kl_1' in rows[0]
  metric = 'negative_elbo' if rooms else results.headline(rows)
  scale, form = (1.0, '.2f') if rooms else (1e3, '.3f')
  found = []
  for variance, scores in _scores(rows, per_scene, metric, rooms).items():
    for (a, one), (b, other) in itertools.combinations(scores.items(), 2):
      its = statistics.difference(one, other)
      found.append(
        {'variance': variance, 'metric': metric, 'a': a, 'b': b}
        | {'runs_a': len(one), 'runs_b': len(other), 'scenes': one.shape[1]}
        | its._asdict()
      )
  if not found:
    return 'A difference needs runs of two models.', []
  lines = []
  for its in found:
    mean, low, high = (its[n] * scale for n in ('mean', 'low', 'high'))
    lines.append(
      [
        *([f'{its["variance"]:g}'] if rooms else []),
        f'{its["a"]} - {its["b"]}',
        f'{its["runs_a"]}, {its["runs_b"]}',
        f'{mean:+{form}}' + ('' if its['replicated'] else ' ‡'),
        f'{low:+{form}} to {high:+{form}}',
        '' if low <= 0 <= high else (its['a'] if high < 0 else its['b']),
      ]
    )
  heads = [*(['variance'] if rooms else []), 'models', 'runs', 'difference']
  heads += ['95 % interval', 'better']
  what = 'Negative ELBO in nats' if rooms else f'{_spoken(metric)}, MSE x 1e-3'
  notes = (
    f'{what}, {found[0]["scenes"]:,} scenes; below 0 the first is better. '
    f'Intervals: {statistics.DRAWS:,} draws of runs, then of scenes, the same '
    'scenes for both models; not corrected for the number of pairs.'
  )
  if not all(its['replicated'] for its in found):
    notes += (
      ' ‡: a model of these was trained with one seed; the interval says '
      'nothing of what other seeds would give.'
    )
  title = '### Differences between models'
  return '\n\n'.join([title, markdown.table(heads, lines, 1), notes]), found


def _scores(
  rows: Rows, per_scene: PerScene, metric: str, by_variance: bool
) -> dict[float | None, dict[str, np.ndarray]]:
  """Scores [R, V] of each model, on the scenes that all runs have."""
  ids = [per_scene[row['run']]['example_id'] for row in rows]
  if any(not np.array_equal(its, ids[0]) for its in ids):
    raise ValueError(
      'the runs were evaluated on different scenes, so their differences '
      'cannot be paired; evaluate them with the same num_scenes'
    )
  found: dict[float | None, dict[str, np.ndarray]] = {}
  for (variance, name), group in results.groups(rows).items():
    scores = [per_scene[row['run']][metric] for row in group]
    its = found.setdefault(variance if by_variance else None, {})
    its[name] = np.stack(scores)
  return found


def _spoken(metric: str) -> str:
  return metric.replace('_', ' ').capitalize()
