"""Runs of an experiment: which there are, how far, chosen how, read how."""

import pytest

from cgqn_jax import (
  checkpoint_curve,
  comparison,
  comparison_tables,
  consistency_tables,
  experiment,
)
from configs import comparison as videos
from configs import dice, dice_comparison, narratives
from tests import comparison_files


@pytest.fixture
def small():
  return dice_comparison.get_config('preset=small').unlock()


def dice_metrics(run):
  """CGQN gains 5 nats at seed 0 and 7 at seed 1, of the oracle's 8."""
  if run.model == 'cgqn':
    return comparison_files.dice_metrics(-2990.0 - run.seed, 4.0, 4.2)
  return comparison_files.dice_metrics(-2985.0 + run.seed, 4.0, 11.0)


def test_runs_differ_in_model_seed_and_the_last_variance_alone(small):
  values = {'cgqn': (0.04, 0.005, 0.02), 'gqn': (0.04, 0.005, 0.02)}
  runs = experiment.runs(small, values)
  assert [run.name for run in runs] == [
    'cgqn-variance0.01-seed0', 'gqn-variance0.01-seed0',
    'cgqn-variance0.02-seed0', 'gqn-variance0.02-seed0',
    'cgqn-variance0.01-seed1', 'gqn-variance0.01-seed1',
    'cgqn-variance0.02-seed1', 'gqn-variance0.02-seed1',
  ]  # fmt: skip
  assert [run.number for run in runs] == list(range(1, 9))
  one, other = set(runs[0].flags), set(runs[2].flags)
  assert one ^ other == {
    '--config.pixel_variance.values=0.04,0.005,0.01',
    '--config.pixel_variance.values=0.04,0.005,0.02',
  }
  assert one ^ set(runs[1].flags) == {
    '--config=configs/dice.py:preset=small,model=cgqn',
    '--config=configs/dice.py:preset=small,model=gqn',
  }
  assert one ^ set(runs[4].flags) == {'--config.seed=0', '--config.seed=1'}
  # 1,500 updates at 8 points: the last checkpoint is that of the end.
  assert '--config.checkpoint_every=188' in one


def test_a_further_seed_renumbers_nothing(small):
  values = dict.fromkeys(small.models, (1.0,))
  before = experiment.runs(small, values)
  small.seeds = (0, 1, 2)
  assert experiment.runs(small, values)[: len(before)] == before


def test_the_paper_has_four_runs_at_four_variances():
  config = dice_comparison.get_config()
  values = {
    name: dice.get_config(its.arguments).pixel_variance['values']
    for name, its in config.models.items()
  }
  runs = experiment.runs(config, values)
  assert len(runs) == 2 * 4 * 4
  schedules = {flag for run in runs for flag in run.flags if 'variance' in flag}
  assert '--config.pixel_variance.values=2,0.2,0.4,0.9' in schedules
  assert len(schedules) == 4 and all('=2,0.2,0.4,' in s for s in schedules)
  assert '--config.num_steps=400000' in runs[0].flags


def test_the_videos_have_one_row_whose_renderer_sees_the_context():
  config = videos.get_config('preset=small')
  names = experiment.compared(config)
  assert names == ['sssm', 'sv2p', 'cdna', 'gqn', 'cgqn', 'cgqn_context']
  assert len(config.seeds) >= 3
  values = dict.fromkeys(names, (1.0,))
  seeing = {
    run.model
    for run in experiment.runs(config, values)
    if '--config.model.renderer_sees_context=True' in run.flags
  }
  assert seeing == {'cgqn_context'}
  narratives.get_config(config.models.cgqn_context.arguments)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('compared', 'cgqn,vae', "'vae'; config.models has cgqn, gqn"),
    ('compared', 'cgqn,cgqn', 'each once'),
    ('seeds', (1, 1), 'seeds is'),
    ('num_steps', 0, 'num_steps is 0'),
  ],
)
def test_mistakes(small, field, value, message):
  small[field] = value
  with pytest.raises(ValueError, match=message) as error:
    experiment.runs(small, dict.fromkeys(small.models, (1.0,)))
  assert '\n' not in str(error.value)


def test_states(small, tmp_path):
  name = 'cgqn-variance0.01-seed0'
  runs = comparison_files.experiment(small, tmp_path, dice_metrics, (name,))
  states = [experiment.state(small, run, tmp_path) for run in runs]
  assert states[0][:3] == (0, False, 'not started')
  assert [its[:3] for its in states[1:]] == [(1500, True, 'finished')] * 7
  (tmp_path / name / 'checkpoints' / '188').mkdir(parents=True)
  # A checkpoint that is being written is none yet.
  (tmp_path / name / 'checkpoints' / '376.orbax-checkpoint-tmp').mkdir()
  state = experiment.state(small, runs[0], tmp_path)
  assert state[:3] == (188, False, 'update 188 of 1,500')
  (tmp_path / name / 'checkpoints' / '1500').mkdir()
  assert not experiment.state(small, runs[0], tmp_path).finished
  # Nor is a run finished whose scenes have no scores of their own.
  (tmp_path / runs[2].name / experiment.PER_SCENE).unlink()
  state = experiment.state(small, runs[2], tmp_path)
  assert (state.finished, state.text) == (False, 'trained, not evaluated')
  experiment.record_divergence(small, runs[0], tmp_path)
  assert experiment.state(small, runs[0], tmp_path).diverged
  # What was evaluated otherwise is not taken for this.
  small.evaluation.num_samples = 7
  state = experiment.state(small, runs[1], tmp_path)
  assert (state.finished, state.text[-14:]) == (False, 'other settings')


def test_the_best_are_chosen_on_validation_scenes():
  rows = [
    {'run': i, 'model': 'cgqn', 'variance': 0.9, 'negative_elbo': elbo}
    | {'validation_loss': loss}
    for i, (loss, elbo) in enumerate([(3.0, 1), (1.0, 4), (None, 0), (2.0, 3)])
  ]
  chosen = [r['run'] for r in comparison.choose(rows, 0.5, 1) if r['chosen']]
  assert chosen == [1, 3]
  assert not any(r['chosen'] for r in comparison.choose(rows, 0.5, 7))
  # 30 % are 4 of 15 and 3 of 10, as in the paper.
  for count, best in (15, 4), (10, 3), (7, 2):
    its = [rows[0] | {'validation_loss': float(i)} for i in range(count)]
    found = sum(r['chosen'] for r in comparison.choose(its, 0.3, 7))
    assert found == best, count


def test_rows_are_flat_and_say_their_protocol(small, tmp_path):
  runs = comparison_files.experiment(small, tmp_path, dice_metrics)
  row = comparison.row(runs[0], tmp_path)
  assert not any(isinstance(value, dict) for value in row.values())
  for name, value in {
    'run': 'cgqn-variance0.01-seed0', 'model': 'cgqn', 'variance': 0.01,
    'seed': 0, 'num_steps': 1500, 'train_seconds': 100.0, 'kl_3': 4.2,
    'validation_loss': -10.0, 'error_negative_elbo': 2.5, 'protocol_seed': 0,
    'protocol_num_scenes': 200, 'protocol_split': 'test',
    'version_jax': '0.10', 'date': '2020-01-02', 'parameters': 1000,
  }.items():  # fmt: skip
    assert row[name] == value, name
  comparison.write_rows(tmp_path, [row])
  assert comparison.read_rows(tmp_path) == [row]
  with pytest.raises(ValueError, match='compare.py --out=.* writes it'):
    comparison.read_rows(tmp_path / 'none')


def rows_of(config, tmp_path, metrics):
  runs = comparison_files.experiment(config, tmp_path, metrics)
  rows = [comparison.row(run, tmp_path) for run in runs]
  rows = comparison.choose(rows, config.chosen_share, config.chosen_from)
  return rows, {r.name: experiment.read_curve(tmp_path / r.name) for r in runs}


def test_the_table_of_consistency(small, tmp_path):
  rows, curves = rows_of(small, tmp_path, dice_metrics)
  text, summary = consistency_tables.tables(rows)
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
  # GQN's share is that of the factored oracle: 11 of 12, not of 4.5.
  assert '100% ± 0% | 92% ± 0% |' in text
  whole, _ = comparison_tables.tables(rows, curves)
  assert '200 scenes, 30 samples and 16 posterior draws each' in whole
  assert 'trained for 1,500 updates, seeds 0, 1' in whole
  # One run has no deviation.
  alone, _ = consistency_tables.tables(rows[:1])
  assert '| 0.01 | cgqn | 1 | -2990.00 | 4.00 |' in alone
  assert 'needs runs of both' in alone


def test_the_table_of_videos_counts_failures(tmp_path):
  config = videos.get_config('preset=small').unlock()
  config.compared, config.seeds = 'cgqn,sv2p', (0, 1)

  def metrics(run):
    bad = run.model == 'sv2p' and run.seed == 1
    return comparison_files.video_metrics(0.012 if bad else 0.008)

  rows, curves = rows_of(config, tmp_path, metrics)
  text, summary = comparison_tables.tables(rows, curves)
  assert summary['cgqn']['failed'] == 0 and summary['sv2p']['failed'] == 1
  assert summary['sv2p']['best_of_30']['mean'] == pytest.approx(0.010)
  # t = 12.7 for two runs, so 12.7 * 2.83 / sqrt(2).
  assert '| sv2p | 2 | 1 | 10.00 ± 2.83 | 25.41 |' in text
  assert '| sv2p-seed1 | 750 | 100 | -9.00 |  | worse than copying |' in text
  # A run that diverged has no numbers, and has failed.
  text, summary = comparison_tables.tables(rows, curves, ['sv2p'])
  assert '| sv2p | 3 | 2 | 10.00 ± 2.83 |' in text
  assert summary['sv2p']['diverged'] == 1 and summary['cgqn']['diverged'] == 0
  assert '| copy last frame |  |  | 11.00 |  | 11.00 |' in text
  # Nor has a model of which all did, but it has its line.
  text, summary = comparison_tables.tables(rows, curves, ['cdna', 'cdna'])
  assert '| cdna | 2 | 2 | - | - | - |' in text
  assert summary['cdna'] == {'runs': 2, 'failed': 2, 'diverged': 2}
  # Bounds of other numbers of frames are another quantity.
  assert 'do not compare' not in text
  for row in rows:
    row['protocol_num_targets'] = 15 if row['model'] == 'sv2p' else 4
  text, _ = comparison_tables.tables(rows, curves)
  assert 'bounds over 4 (cgqn), 15 (sv2p) of them' in text
  assert 'do not compare here: they are of different numbers of frames' in text


def test_a_run_fails_on_validation_scenes_alone():
  row = {
    'protocol_model': 'gqn', 'validation_kl': 5.0, 'best_of_30': 0.02,
    'validation_best_of_10': 0.02, 'validation_best_of_30': 0.01,
    'validation_copy_last_frame': 0.011, 'copy_last_frame': 0.011, 'kl': 0.0,
  }  # fmt: skip
  row['best_of_10'] = 0.02
  assert comparison.failure(row) is None
  assert comparison.failure(row | {'validation_kl': 0.099}) == 'KL 0.099'
  # CDNA has no latent whose KL could tell.
  cdna = row | {'validation_kl': 0.0, 'protocol_model': 'cdna'}
  assert comparison.failure(cdna) is None
  worse = row | {'validation_best_of_30': 0.012}
  assert comparison.failure(worse) == 'worse than copying'


def test_equal_budgets_read_the_dearer_run_earlier(tmp_path):
  config = videos.get_config('preset=small').unlock()
  config.compared, config.seeds, config.num_steps = 'cgqn,sv2p', (0,), 400
  runs = experiment.runs(config, dict.fromkeys(config.models, (1.0,)))
  for run, seconds in zip(runs, (100.0, 180.0), strict=True):
    metrics = comparison_files.video_metrics(0.008)
    comparison_files.finish(config, run, tmp_path, metrics, 0.0, seconds)
  curves = {r.name: experiment.read_curve(tmp_path / r.name) for r in runs}
  slow = curves['sv2p-seed0']
  # Its points cost 45, 90, 135 and 180 seconds.
  assert comparison_tables.at_budget(slow, 'seconds', 100.0)['step'] == 200
  assert comparison_tables.at_budget(slow, 'seconds', 40.0) is None
  assert comparison_tables.at_budget(slow, 'updates', 400)['step'] == 400
  assert comparison_tables.costs(slow, 'FLOPs')[-1] == 400e9
  rows = [comparison.row(run, tmp_path) for run in runs]
  text = comparison_tables.budget_table(rows, curves)
  # 0.008 at the end, 1.5 times that at half of the run.
  assert '| cgqn | 1 | 8.00 | 8.00 | 8.00 |' in text
  assert '| sv2p | 1 | 8.00 | 12.00 † | 8.00 |' in text
  assert '400 updates, 100 seconds, 4e+11 FLOPs' in text
  assert 'whose schedules were not made for' in text


def test_training_seconds_integrate_the_speeds():
  rows = [
    {'step': 1},  # before there is a speed
    {'step': 100, 'updates_per_second': 10.0},
    {'step': 200, 'updates_per_second': 5.0},
    {'step': 300, 'updates_per_second': None},
  ]
  seconds = checkpoint_curve.training_seconds(rows, [50, 100, 200, 300])
  assert seconds == pytest.approx([5.0, 10.0, 30.0, 50.0])
  assert checkpoint_curve.training_seconds(rows[:1], [1]) == [None]
