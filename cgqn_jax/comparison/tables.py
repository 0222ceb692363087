"""The tables of an experiment: every run, and means over runs.

Paper, section 4.1 (figure 5) for videos; of dice see `dice_tables`.
"""

from collections.abc import Mapping, Sequence
import itertools
import json
from typing import Any

import numpy as np

from cgqn_jax.comparison import dice_tables, markdown, results, statistics
from cgqn_jax.comparison.results import COLLAPSED
from cgqn_jax.comparison.statistics import Rows
from cgqn_jax.evaluation import tasks, videos
from cgqn_jax.evaluation.metrics import Column

# Of these tasks others say more than a table of models.
_SPECIAL = {'dice': dice_tables.tables}

PerScene = Mapping[str, Mapping[str, np.ndarray]]


def tables(
  rows: Rows,
  curves: Mapping[str, Mapping[str, Any]],
  diverged: Sequence[str] = (),
) -> tuple[str, dict[str, Any]]:
  """All of an experiment in Markdown, and its numbers.

  Args:
    rows: of runs.jsonl, at least one.
    curves: of the same runs, by name.
    diverged: the model of each run whose loss was not finite any more.
  """
  if rows[0]['protocol_task'] in _SPECIAL:
    text, summary = _SPECIAL[rows[0]['protocol_task']](rows)
  else:
    text, summary = model_table(rows, diverged)
    text += '\n\n' + budget_table(rows, curves)
  return '\n\n'.join([protocol(rows), text, run_table(rows)]), summary


def protocol(rows: Rows) -> str:
  """What all numbers have in common, and what made them."""
  its = rows[0]

  def p(name: str) -> Any:
    return its[f'protocol_{name}']

  def versions(name: str) -> str:
    return ', '.join(sorted({f'{row[f"version_{name}"]}' for row in rows}))

  context = p('context')
  if not isinstance(context, str):
    context = f'frames {json.dumps(context)} (from 0)'
  updates = ', '.join(f'{n:,}' for n in sorted({r['num_steps'] for r in rows}))
  seeds = ', '.join(str(seed) for seed in sorted({r['seed'] for r in rows}))
  dates = sorted({row['date'] for row in rows})
  lines = [
    f'{p("dataset")}, {p("frame_size")}x{p("frame_size")}, {p("split")} split: '
    f'{p("num_scenes"):,} scenes, {p("num_samples")} samples and '
    f'{p("num_draws")} posterior draws each, evaluation seed {p("seed")}',
    f'context: {context}; judged: {p("hidden_frames")} hidden frames; bounds '
    f'over {_num_targets(rows)} of them',
    f'trained for {updates} updates, seeds {seeds}',
    f'evaluated {" to ".join(dict.fromkeys((dates[0], dates[-1])))} on '
    f'{versions("device")}; jax {versions("jax")}, flax {versions("flax")}, '
    f'Python {versions("python")}, commit {versions("commit")}',
  ]
  return '\n'.join(f'* {line}' for line in lines)


def _num_targets(rows: Rows) -> str:
  """The number of targets of the bounds, by model where they differ."""
  models: dict[int, list[str]] = {}
  for row in rows:
    models.setdefault(row['protocol_num_targets'], []).append(row['model'])
  if len(models) == 1:
    return f'{next(iter(models))}'
  return ', '.join(
    f'{count} ({", ".join(dict.fromkeys(names))})'
    for count, names in models.items()
  )


def run_table(rows: Rows) -> str:
  """A line per run."""
  head, metric, form, scale = tasks.of_rows(rows).headline(rows)
  shown = metric != 'negative_elbo'  # which is there anyway
  lines = []
  for row in rows:
    error = [f'{row[metric] * scale:{form}}'] if shown else []
    seconds, loss = row['train_seconds'], row['validation_loss']
    lines.append(
      [
        row['run'],
        f'{row["protocol_step"]:,}',
        '-' if seconds is None else f'{seconds:,.0f}',
        '-' if loss is None else f'{loss:.2f}',
        'yes' if row['chosen'] else '',
        results.failure(row) or '',
        f'{row["negative_elbo"]:.2f}',
        f'{row["kl"]:.2f}',
        *error,
      ]
    )
  heads = ['run', 'update', 'seconds', 'validation loss', 'chosen', 'failed']
  heads += ['negative ELBO', 'KL'] + ([head] if shown else [])
  notes = (
    'Seconds of training without compiling and validation; runs are chosen by '
    'the validation loss, which is under the protocol of training. On '
    'validation scenes too: '
    f'a run has failed whose KL is below {COLLAPSED} nats although it has a '
    'latent, or whose best sample is worse than repeating the last frame.'
  )
  return '\n\n'.join(['### Every run', markdown.table(heads, lines, 1), notes])


def model_table(
  rows: Rows, diverged: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
  """A line per model, the mean over its runs, and the anchors below."""
  task = tasks.of_rows(rows)
  first = task.headline(rows)
  columns = [
    *task.columns(rows),
    Column('negative ELBO', 'negative_elbo', '.1f'),
    Column('KL', 'kl', '.2f'),
    Column('seconds', 'train_seconds', ',.0f'),
    Column('parameters', 'parameters', ',.0f'),
  ]
  lines, summary = [], {}
  for (_, name), group in results.groups(rows).items():
    cells = [
      markdown.cell(group, metric, form, scale)
      for _, metric, form, scale in columns
    ]
    lost = list(diverged).count(name)
    failures = sum(results.failure(row) is not None for row in group) + lost
    half = statistics.student(statistics.known(group, first.metric))
    cells.insert(1, '-' if half is None else f'{half * first.scale:.2f}')
    lines.append([name, f'{len(group) + lost}', f'{failures}', *cells])
    summary[name] = {
      metric: {
        'mean': statistics.mean(group, metric),
        'deviation': statistics.deviation(statistics.known(group, metric)),
      }
      for _, metric, _, _ in columns
    } | {
      'runs': len(group) + lost,
      'failed': failures,
      'diverged': lost,
      'student_95': half,
    }
  for name in sorted(set(diverged) - set(summary)):
    lost = list(diverged).count(name)
    lines.append([name, f'{lost}', f'{lost}', *['-'] * (len(columns) + 1)])
    summary[name] = {'runs': lost, 'failed': lost, 'diverged': lost}
  for label, metrics in task.anchors(rows).items():
    cells = [
      markdown.anchor(rows, metric, column.form, column.scale) if metric else ''
      for metric, column in zip(metrics, columns, strict=False)
    ]
    cells.insert(1, '')
    blank = len(columns) + 1 - len(cells)
    lines.append([label, '', '', *cells, *[''] * blank])
  heads = ['model', 'runs', 'failed', *(column.head for column in columns)]
  heads.insert(4, '± 95 %')
  notes = (
    'MSE of the hidden frames, jointly, x 1e-3; behind ± the standard '
    'deviation over R runs s; ± 95 % is t s / sqrt(R). Failed runs (see every '
    'run) are in the means, except those that diverged, which have no numbers.'
  )
  if videos.by_half(rows):
    notes += (
      ' Valid (half): nearer to a future than half the MSE between the two '
      'that are nearest to each other.'
    )
  for field, what in (
    ('variance', 'the models have different pixel-variances'),
    ('protocol_num_targets', 'they are of different numbers of frames'),
  ):
    if len({row[field] for row in rows}) > 1:
      notes += f' Negative ELBOs do not compare here: {what}.'
  title = '### Errors of hidden frames'
  return '\n\n'.join([title, markdown.table(heads, lines, 1), notes]), summary


def budget_table(rows: Rows, curves: Mapping[str, Mapping[str, Any]]) -> str:
  """Errors where the run that is cheapest in updates, or seconds, ends."""
  best = results.curve_headline(curves)
  lines, cut = [], False
  budgets = {
    kind: min(results.costs(curve, kind)[-1] for curve in curves.values())
    for kind in results.BUDGETS
    if all(None not in results.costs(curve, kind) for curve in curves.values())
  }
  for (_, name), group in results.groups(rows).items():
    cells = []
    for kind, budget in budgets.items():
      points = [
        results.at_budget(curves[row['run']], kind, budget) for row in group
      ]
      if None in points:  # The fastest of its runs would not stand for all.
        cells.append('-')
        continue
      early = any(
        point['step'] < row['num_steps']
        for point, row in zip(points, group, strict=True)
      )
      cut |= early
      text = markdown.cell(points, best, '.2f', 1e3)
      cells.append(text + (' †' if early else ''))
    lines.append([name, f'{len(group)}', *cells])
  heads = ['model', 'runs', *(f'equal {kind}' for kind in budgets)]
  its = next(iter(curves.values()))['protocol']
  shown = ', '.join(f'{budget:,.4g} {kind}' for kind, budget in budgets.items())
  notes = (
    f'{best.replace("_", " ")} x 1e-3 at the last checkpoint within {shown}; '
    f'{its["num_scenes"]} scenes, {its["num_samples"]} samples. -: not all of '
    'its runs have a checkpoint so early.'
  )
  if cut:
    notes += (
      ' †: read before the end of the run, whose schedules were not made for '
      'that budget.'
    )
  title = '### At equal budgets'
  return '\n\n'.join([title, markdown.table(heads, lines, 1), notes])


def difference_table(
  rows: Rows, per_scene: PerScene
) -> tuple[str, list[dict[str, Any]]]:
  """Each pair of models, A minus B, in Markdown and as rows of numbers.

  Args:
    rows: of runs.jsonl, at least one; failed runs are among them.
    per_scene: of the same runs, by name: what evaluate.py wrote.
  """
  head, metric, form, scale = tasks.of_rows(rows).headline(rows)
  # Bounds at different variances do not compare.
  apart = metric == 'negative_elbo'
  found = []
  for variance, scores in _paired_scores(
    rows, per_scene, metric, apart
  ).items():
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
        *([f'{its["variance"]:g}'] if apart else []),
        f'{its["a"]} - {its["b"]}',
        f'{its["runs_a"]}, {its["runs_b"]}',
        f'{mean:+{form}}' + ('' if its['replicated'] else ' ‡'),
        f'{low:+{form}} to {high:+{form}}',
        '' if low <= 0 <= high else (its['a'] if high < 0 else its['b']),
      ]
    )
  heads = [*(['variance'] if apart else []), 'models', 'runs', 'difference']
  heads += ['95 % interval', 'better']
  what = 'Negative ELBO in nats' if apart else f'{_spoken(metric)}, {head}'
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


def _paired_scores(
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
