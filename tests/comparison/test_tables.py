"""The tables of an experiment: of the recorded runs, and of made-up ones."""

import pathlib

import pytest

from cgqn_jax.comparison import dice_tables, results, scores, tables

RESULTS = pathlib.Path(__file__).parents[2] / 'results'


@pytest.fixture
def videos():
  return results.read_rows(RESULTS / 'comparison')


@pytest.fixture
def dice():
  return results.read_rows(RESULTS / 'dice')


def unrecorded(name, text):
  """The lines of tables and protocol that the recorded table lacks."""
  recorded = (RESULTS / name / 'table.md').read_text('utf-8').splitlines()
  lines = [x for x in text.splitlines() if x.startswith(('|', '*'))]
  assert len(lines) > 10
  return [line for line in lines if line not in recorded]


@pytest.mark.parametrize(
  'name', ['comparison', 'comparison_seconds', 'comparison_sssm']
)
def test_recorded_videos_make_their_recorded_tables(name):
  rows = results.read_rows(RESULTS / name)
  text, _ = tables.model_table(rows)
  parts = [tables.protocol(rows), text, tables.run_table(rows)]
  (oracle,) = unrecorded(name, '\n'.join(parts))
  # It had a share of valid futures by the older limit.
  assert oracle.startswith('| oracle |  |  | 0.03 |  | 8.92 |  | 5.97 |')


def test_recorded_dice_make_their_recorded_tables(dice):
  text, summary = dice_tables.tables(dice)
  assert unrecorded('dice', f'{tables.protocol(dice)}\n{text}') == []
  gain = summary['0.01']['gain']
  assert gain['gain_share'] == gain['gain'] / gain['oracle_gain']


def test_fresh_weights_and_single_runs_of_dice(dice):
  dice = [row | {'untrained_kl_1': 2.0, 'untrained_kl_3': 5.5} for row in dice]
  text, _ = dice_tables.consistency_table(dice)
  assert '| 0.01 | gqn, untrained |  | - | 2.00 | 5.50 | 2.75 | 3.50 |' in text
  alone, summary = dice_tables.tables(dice[:1])
  assert '| 0.01 | cgqn | 1 | -9467.98 | 106.44 | 109.96 | 1.03 |' in alone
  assert 'needs runs of both' in alone
  assert summary['0.01']['cgqn']['kl_difference_deviation'] is None


def test_runs_that_diverged_are_counted(videos):
  text, summary = tables.model_table(videos, ['sssm', 'vae', 'vae'])
  assert '| sssm | 4 | 2 | 10.82 ± 1.05 | 2.60 |' in text
  assert summary['sssm']['diverged'] == 1 and summary['cgqn']['diverged'] == 0
  # A model of which all did has no numbers, but its line.
  assert '| vae | 2 | 2 | - | - | - |' in text
  assert summary['vae'] == {'runs': 2, 'failed': 2, 'diverged': 2}


def test_bounds_that_do_not_compare_are_named(videos):
  text, _ = tables.model_table(videos)
  assert 'do not compare here: they are of different numbers of frames' in text
  text, _ = tables.model_table([r for r in videos if r['model'] == 'sssm'])
  assert 'do not compare' not in text


def test_rows_judged_by_the_older_limit_are_named_so(videos):
  """Beside newer ones, all are read by it."""
  newer = [row | {'validity': 0.1} for row in videos]
  text, summary = tables.model_table(newer)
  assert '| best of 1 | valid | modes |' in text and 'half' not in text
  assert summary['cgqn']['validity']['mean'] == pytest.approx(0.1)
  text, summary = tables.model_table([videos[0], *newer[1:]])
  assert '| best of 1 | valid (half) | modes |' in text
  assert 'half the MSE between the two that are nearest' in text
  assert 'validity' not in summary['cgqn']


def test_equal_budgets_read_the_dearer_run_earlier():
  def curve(seconds):
    points = [
      {'step': step, 'train_seconds': seconds * step / 400, 'best_of_30': error}
      for step, error in ((100, 0.014), (200, 0.012), (400, 0.008))
    ]
    protocol = {'num_scenes': 200, 'num_samples': 30}
    return {'points': points, 'flops_per_update': 10**9, 'protocol': protocol}

  slow = curve(180.0)
  # Its points cost 45, 90 and 180 seconds.
  assert results.at_budget(slow, 'seconds', 100.0)['step'] == 200
  assert results.at_budget(slow, 'seconds', 40.0) is None
  assert results.at_budget(slow, 'updates', 400)['step'] == 400
  assert results.costs(slow, 'FLOPs')[-1] == 400e9
  rows = [
    {'run': name, 'model': name, 'variance': 1.0, 'num_steps': 400}
    for name in ('cgqn', 'sv2p')
  ]
  curves = {'cgqn': curve(100.0), 'sv2p': slow}
  text = tables.budget_table(rows, curves)
  assert '| cgqn | 1 | 8.00 | 8.00 | 8.00 |' in text
  assert '| sv2p | 1 | 8.00 | 12.00 † | 8.00 |' in text
  assert '400 updates, 100 seconds, 4e+11 FLOPs' in text
  assert 'whose schedules were not made for' in text
  # One of two runs within the budget does not stand for both.
  curves['late'] = slow | {'points': slow['points'][2:]}
  text = tables.budget_table([*rows, rows[1] | {'run': 'late'}], curves)
  assert '| sv2p | 2 | 8.00 ± 0.00 | - | 8.00 ± 0.00 |' in text


def test_training_seconds_integrate_the_speeds():
  rows = [
    {'step': 1},  # before there is a speed
    {'step': 100, 'updates_per_second': 10.0},
    {'step': 200, 'updates_per_second': 5.0},
    {'step': 300, 'updates_per_second': None},
  ]
  seconds = scores.training_seconds(rows, [50, 100, 200, 300])
  assert seconds == pytest.approx([5.0, 10.0, 30.0, 50.0])
  assert scores.training_seconds(rows[:1], [1]) == [None]
