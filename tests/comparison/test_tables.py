"""The tables of an experiment, and what they say of what a run cost."""

import pytest

from cgqn_jax.comparison import curve, dice_tables, results, tables
from cgqn_jax.comparison import runs as runs_lib
from configs import comparison as videos
from configs import dice_comparison
from tests import comparison_files


def rows_of(config, tmp_path, metrics):
  runs = comparison_files.experiment(config, tmp_path, metrics)
  rows = [results.row(run, tmp_path) for run in runs]
  rows = results.choose(rows, config.chosen_share, config.chosen_from)
  return rows, {r.name: runs_lib.read_curve(tmp_path / r.name) for r in runs}


def test_the_table_of_consistency(tmp_path):
  config = dice_comparison.get_config('preset=small').unlock()
  rows, curves = rows_of(config, tmp_path, comparison_files.gaining)
  text, summary = dice_tables.tables(rows)
  line = summary['0.01']['cgqn']
  assert line['runs'] == 2 and line['kl_ratio'] == pytest.approx(1.05)
  assert line['negative_elbo'] == -2990.5
  assert line['negative_elbo_deviation'] == pytest.approx(0.5**0.5)
  assert line['chosen_runs'] == ['cgqn-variance0.01-seed0']
  assert summary['0.02']['gqn']['kl_ratio'] == pytest.approx(2.75)
  gain = summary['0.02']['gain']
  assert gain['gain'] == 6 and gain['gain_deviation'] == pytest.approx(2**0.5)
  assert gain['gain_share'] == 0.75 and gain['gain_of_chosen'] == 5
  assert '| 0.01 | cgqn | 2 | -2990.50 ± 0.71 |' in text
  assert '| 0.01 | oracle, factored |  | -2992.00 | 4.00 | 12.00 |' in text
  assert '| 0.02 | 6.00 ± 1.41 | 5.00 | 8.00 | 75% |' in text
  assert '| 0.01 | cgqn, untrained |  | - | 2.00 | 2.10 | 1.05 | 0.10 |' in text
  assert '| 0.01 | gqn, untrained |  | - | 2.00 | 5.50 | 2.75 | 3.50 |' in text
  assert '| 13.00 ± 0.00 | 26.00 ± 0.00 | 9.60 ± 0.00 | 0.20 ± 0.00 |' in text
  assert '|  | chance | - | - | - | 0.0001 | - | 0.01 |' in text
  # Runs of earlier commits have neither.
  old = [
    {n: v for n, v in row.items() if 'untrained' not in n and n != 'legible'}
    for row in rows
  ]
  before, _ = dice_tables.tables(old)
  assert 'cgqn, untrained' not in before and '| 0.01 | cgqn | - |' in before
  # GQN's share is that of the factored oracle: 11 of 12, not of 4.5.
  assert '100% ± 0% | 92% ± 0% |' in text
  whole, _ = tables.tables(rows, curves)
  assert '200 scenes, 30 samples and 16 posterior draws each' in whole
  assert 'trained for 1,500 updates, seeds 0, 1' in whole
  # One run has no deviation.
  alone, _ = dice_tables.tables(rows[:1])
  assert '| 0.01 | cgqn | 1 | -2990.00 | 4.00 |' in alone
  assert 'needs runs of both' in alone


def test_the_table_of_videos_counts_failures(tmp_path):
  config = videos.get_config('preset=small').unlock()
  config.compared, config.seeds = 'cgqn,sv2p', (0, 1)

  def metrics(run):
    bad = run.model == 'sv2p' and run.seed == 1
    return comparison_files.video_metrics(0.012 if bad else 0.008)

  rows, curves = rows_of(config, tmp_path, metrics)
  text, summary = tables.tables(rows, curves)
  assert summary['cgqn']['failed'] == 0 and summary['sv2p']['failed'] == 1
  assert summary['sv2p']['best_of_30']['mean'] == pytest.approx(0.010)
  # t = 12.7 for two runs, so 12.7 * 2.83 / sqrt(2).
  assert '| sv2p | 2 | 1 | 10.00 ± 2.83 | 25.41 |' in text
  assert '| sv2p-seed1 | 750 | 100 | -9.00 |  | worse than copying |' in text
  # A run that diverged has no numbers, and has failed.
  text, summary = tables.tables(rows, curves, ['sv2p'])
  assert '| sv2p | 3 | 2 | 10.00 ± 2.83 |' in text
  assert summary['sv2p']['diverged'] == 1 and summary['cgqn']['diverged'] == 0
  assert '| copy last frame |  |  | 11.00 |  | 11.00 |' in text
  # Nor has a model of which all did, but it has its line.
  text, summary = tables.tables(rows, curves, ['cdna', 'cdna'])
  assert '| cdna | 2 | 2 | - | - | - |' in text
  assert summary['cdna'] == {'runs': 2, 'failed': 2, 'diverged': 2}
  # Bounds of other numbers of frames are another quantity.
  assert 'do not compare' not in text
  for row in rows:
    row['protocol_num_targets'] = 15 if row['model'] == 'sv2p' else 4
  text, _ = tables.tables(rows, curves)
  assert 'bounds over 4 (cgqn), 15 (sv2p) of them' in text
  assert 'do not compare here: they are of different numbers of frames' in text


def test_rows_judged_by_the_older_limit_are_named_so(tmp_path):
  """Beside newer ones, all are read by it."""
  config = videos.get_config('preset=small').unlock()
  config.compared, config.seeds = 'cgqn', (0, 1)

  def metrics(run):
    return comparison_files.video_metrics(0.008)

  rows, _ = rows_of(config, tmp_path, metrics)
  text, summary = tables.model_table(rows)
  assert '| best of 1 | valid | modes |' in text and 'half' not in text
  assert summary['cgqn']['validity']['mean'] == pytest.approx(0.1)
  del rows[0]['validity']
  text, summary = tables.model_table(rows)
  assert '| best of 1 | valid (half) | modes |' in text
  assert summary['cgqn']['validity_half']['mean'] == pytest.approx(0.3)
  assert 'validity' not in summary['cgqn']
  assert 'half the MSE between the two that are nearest' in text


def test_equal_budgets_read_the_dearer_run_earlier(tmp_path):
  config = videos.get_config('preset=small').unlock()
  config.compared, config.seeds, config.num_steps = 'cgqn,sv2p', (0,), 400
  runs = runs_lib.runs(config, dict.fromkeys(config.models, (1.0,)))
  for run, seconds in zip(runs, (100.0, 180.0), strict=True):
    metrics = comparison_files.video_metrics(0.008)
    comparison_files.finish(config, run, tmp_path, metrics, 0.0, seconds)
  curves = {r.name: runs_lib.read_curve(tmp_path / r.name) for r in runs}
  slow = curves['sv2p-seed0']
  # Its points cost 45, 90, 135 and 180 seconds.
  assert results.at_budget(slow, 'seconds', 100.0)['step'] == 200
  assert results.at_budget(slow, 'seconds', 40.0) is None
  assert results.at_budget(slow, 'updates', 400)['step'] == 400
  assert results.costs(slow, 'FLOPs')[-1] == 400e9
  rows = [results.row(run, tmp_path) for run in runs]
  text = tables.budget_table(rows, curves)
  # 0.008 at the end, 1.5 times that at half of the run.
  assert '| cgqn | 1 | 8.00 | 8.00 | 8.00 |' in text
  assert '| sv2p | 1 | 8.00 | 12.00 † | 8.00 |' in text
  assert '400 updates, 100 seconds, 4e+11 FLOPs' in text
  assert 'whose schedules were not made for' in text
  # One of two runs within the budget does not stand for both.
  curves['sv2p-seed1'] = slow | {'points': slow['points'][2:]}
  text = tables.budget_table([*rows, rows[1] | {'run': 'sv2p-seed1'}], curves)
  assert '| sv2p | 2 | 8.00 ± 0.00 | - | 8.00 ± 0.00 |' in text


def test_training_seconds_integrate_the_speeds():
  rows = [
    {'step': 1},  # before there is a speed
    {'step': 100, 'updates_per_second': 10.0},
    {'step': 200, 'updates_per_second': 5.0},
    {'step': 300, 'updates_per_second': None},
  ]
  seconds = curve.training_seconds(rows, [50, 100, 200, 300])
  assert seconds == pytest.approx([5.0, 10.0, 30.0, 50.0])
  assert curve.training_seconds(rows[:1], [1]) == [None]
