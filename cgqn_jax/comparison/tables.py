"""The tables of an experiment: every run, and means over runs.

Paper, section 4.1 (figure 5) for videos; of dice see `dice_tables`.
"""

import collections
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
  if rows[0]['protocol_task'] == 'dice':
    text, summary = dice_tables.tables(rows)
  else:
    text, summary = model_table(rows, diverged)
    text += '\n\n' + budget_table(rows, curves)
  return '\n\n'.join([protocol(rows), text, run_table(rows)]), summary


def protocol(rows: Rows) -> str:
  """What all numbers have in common, and what made them."""

  def p(name: str) -> Any:
    return rows[0][f'protocol_{name}']

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
  lines = []
  for row in rows:
    seconds, loss = row['train_seconds'], row['validation_loss']
    line = {
      'run': row['run'],
      'update': f'{row["protocol_step"]:,}',
      'seconds': '-' if seconds is None else f'{seconds:,.0f}',
      'validation loss': '-' if loss is None else f'{loss:.2f}',
      'chosen': 'yes' if row['chosen'] else '',
      'failed': results.failure(row) or '',
      'negative ELBO': f'{row["negative_elbo"]:.2f}',
      'KL': f'{row["kl"]:.2f}',
    }
    lines.append({**line, head: f'{row[metric] * scale:{form}}'})
  notes = (
    'Seconds of training without compiling and validation; runs are chosen by '
    'the validation loss, which is under the protocol of training. On '
    'validation scenes too: '
    f'a run has failed whose KL is below {COLLAPSED} nats although it has a '
    'latent, or whose best sample is worse than repeating the last frame.'
  )
  return markdown.section('Every run', lines, 1, notes)


def model_table(
  rows: Rows, diverged: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
  """A line per model, the mean over its runs, and the anchors below."""
  task = tasks.of_rows(rows)
  headline = task.headline(rows)
  columns = [
    *task.columns(rows),
    Column('negative ELBO', 'negative_elbo', '.1f'),
    Column('KL', 'kl', '.2f'),
    Column('seconds', 'train_seconds', ',.0f'),
    Column('parameters', 'parameters', ',.0f'),
  ]
  lost = collections.Counter(diverged)
  lines, summary = [], {}
  for (_, name), group in results.groups(rows).items():
    failed = sum(results.failure(row) is not None for row in group) + lost[name]
    counts = {'runs': len(group) + lost[name], 'failed': failed}
    cells = {
      head: markdown.cell(group, metric, form, scale)
      for head, metric, form, scale in columns
    }
    line = {'model': name} | {head: f'{n}' for head, n in counts.items()}
    line[columns[0].head] = cells[columns[0].head]
    half = statistics.student(statistics.known(group, headline.metric))
    line['± 95 %'] = '-' if half is None else f'{half * headline.scale:.2f}'
    lines.append(line | cells)
    summary[name] = {
      column.metric: {
        'mean': statistics.mean(group, column.metric),
        'deviation': statistics.deviation(
          statistics.known(group, column.metric)
        ),
      }
      for column in columns
    }
    summary[name] |= counts | {'diverged': lost[name], 'student_95': half}
  for name in sorted(set(lost) - set(summary)):
    count = f'{lost[name]}'
    line = {'model': name, 'runs': count, 'failed': count}
    lines.append(dict.fromkeys(lines[0], '-') | line)
    summary[name] = dict.fromkeys(('runs', 'failed', 'diverged'), lost[name])
  for label, metrics in task.anchors(rows).items():
    line = {'model': label}
    for metric, (head, _, form, scale) in zip(metrics, columns, strict=False):
      line[head] = markdown.anchor(rows, metric, form, scale) if metric else ''
    lines.append(line)
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
  text = markdown.section('Errors of hidden frames', lines, 1, notes)
  return text, summary


def budget_table(rows: Rows, curves: Mapping[str, Mapping[str, Any]]) -> str:
  """Errors where the run that is cheapest in updates, or seconds, ends."""
  best = results.curve_headline(curves)
  budgets = {}
  for kind in results.BUDGETS:
    costs = [results.costs(curve, kind) for curve in curves.values()]
    if not any(None in cost for cost in costs):
      budgets[kind] = min(cost[-1] for cost in costs)
  lines, cut = [], False
  for (_, name), group in results.groups(rows).items():
    line = {'model': name, 'runs': f'{len(group)}'}
    for kind, budget in budgets.items():
      points = [
        results.at_budget(curves[row['run']], kind, budget) for row in group
      ]
      text = '-'  # if one has none: the fastest would not stand for all
      if None not in points:
        text = markdown.cell(points, best, '.2f', 1e3)
        if any(
          point['step'] < row['num_steps']
          for point, row in zip(points, group, strict=True)
        ):
          cut, text = True, f'{text} †'
      line[f'equal {kind}'] = text
    lines.append(line)
  protocol = next(iter(curves.values()))['protocol']
  shown = ', '.join(f'{budget:,.4g} {kind}' for kind, budget in budgets.items())
  notes = (
    f'{best.replace("_", " ")} x 1e-3 at the last checkpoint within {shown}; '
    f'{protocol["num_scenes"]} scenes, {protocol["num_samples"]} samples. -: '
    'not all of its runs have a checkpoint so early.'
  )
  if cut:
    notes += (
      ' †: read before the end of the run, whose schedules were not made for '
      'that budget.'
    )
  return markdown.section('At equal budgets', lines, 1, notes)


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
  paired = _paired_scores(rows, per_scene, metric, apart)
  found, lines = [], []
  for variance, scores in paired.items():
    for (a, one), (b, other) in itertools.combinations(scores.items(), 2):
      difference = statistics.difference(one, other)
      found.append(
        {'variance': variance, 'metric': metric, 'a': a, 'b': b}
        | {'runs_a': len(one), 'runs_b': len(other), 'scenes': one.shape[1]}
        | difference._asdict()
      )
      mean, low, high = (scale * value for value in difference[:3])
      mark = '' if difference.replicated else ' ‡'
      lines.append(
        ({'variance': f'{variance:g}'} if apart else {})
        | {
          'models': f'{a} - {b}',
          'runs': f'{len(one)}, {len(other)}',
          'difference': f'{mean:+{form}}{mark}',
          '95 % interval': f'{low:+{form}} to {high:+{form}}',
          'better': '' if low <= 0 <= high else a if high < 0 else b,
        }
      )
  if not found:
    return 'A difference needs runs of two models.', []
  what = f'{metric.replace("_", " ").capitalize()}, {head}'
  if apart:
    what = 'Negative ELBO in nats'
  notes = (
    f'{what}, {found[0]["scenes"]:,} scenes; below 0 the first is better. '
    f'Intervals: {statistics.DRAWS:,} draws of runs, then of scenes, the same '
    'scenes for both models; not corrected for the number of pairs.'
  )
  if not all(pair['replicated'] for pair in found):
    notes += (
      ' ‡: a model of these was trained with one seed; the interval says '
      'nothing of what other seeds would give.'
    )
  return markdown.section('Differences between models', lines, 1, notes), found


def _paired_scores(
  rows: Rows, per_scene: PerScene, metric: str, by_variance: bool
) -> dict[float | None, dict[str, np.ndarray]]:
  """Scores [R, V] of each model, on the scenes that all runs have."""
  ids = [per_scene[row['run']]['example_id'] for row in rows]
  if any(not np.array_equal(other, ids[0]) for other in ids):
    raise ValueError(
      'the runs were evaluated on different scenes, so their differences '
      'cannot be paired; evaluate them with the same num_scenes'
    )
  found: dict[float | None, dict[str, np.ndarray]] = {}
  for (variance, name), group in results.groups(rows).items():
    scores = np.stack([per_scene[row['run']][metric] for row in group])
    found.setdefault(variance if by_variance else None, {})[name] = scores
  return found
