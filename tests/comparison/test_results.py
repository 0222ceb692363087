"""Runs of an experiment: which there are, how far, chosen how, read how."""

import json

import pytest

from cgqn_jax.comparison import results
from cgqn_jax.comparison import runs as runs_lib
from configs import comparison as videos
from configs import dice, dice_comparison, narratives
from tests import comparison_files


@pytest.fixture
def small():
  return dice_comparison.get_config('preset=small').unlock()


def test_runs_differ_in_model_seed_and_the_last_variance_alone(small):
  values = {'cgqn': (0.04, 0.005, 0.02), 'gqn': (0.04, 0.005, 0.02)}
  runs = runs_lib.runs(small, values)
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
    '--config=configs/dice.py:preset=small,model=cgqn,networks=draw',
    '--config=configs/dice.py:preset=small,model=gqn,networks=draw',
  }
  assert one ^ set(runs[4].flags) == {'--config.seed=0', '--config.seed=1'}
  # 1,500 updates at 8 points: the last checkpoint is that of the end.
  assert '--config.checkpoint_every=188' in one


def test_a_further_seed_renumbers_nothing(small):
  values = dict.fromkeys(small.models, (1.0,))
  before = runs_lib.runs(small, values)
  small.seeds = (0, 1, 2)
  assert runs_lib.runs(small, values)[: len(before)] == before


def test_the_paper_has_four_runs_at_four_variances():
  config = dice_comparison.get_config()
  values = {
    name: dice.get_config(its.arguments).pixel_variance['values']
    for name, its in config.models.items()
  }
  runs = runs_lib.runs(config, values)
  assert len(runs) == 2 * 4 * 4
  schedules = {flag for run in runs for flag in run.flags if 'variance' in flag}
  assert '--config.pixel_variance.values=2,0.2,0.4,0.9' in schedules
  assert len(schedules) == 4 and all('=2,0.2,0.4,' in s for s in schedules)
  assert '--config.num_steps=400000' in runs[0].flags


def test_the_videos_have_one_row_whose_renderer_sees_the_context():
  config = videos.get_config('preset=small')
  names = runs_lib.compared(config)
  assert names == ['sssm', 'sv2p', 'cdna', 'gqn', 'cgqn', 'cgqn_context']
  assert len(config.seeds) >= 3
  values = dict.fromkeys(names, (1.0,))
  flag = '--config.model.renderer_sees_context='
  seeing = {
    run.model: [f.removeprefix(flag) for f in run.flags if f.startswith(flag)]
    for run in runs_lib.runs(config, values)
  }
  # The preset alone would say True.
  assert {name: its for name, its in seeing.items() if its} == {
    'gqn': ['False'], 'cgqn': ['False'], 'cgqn_context': ['True'],
  }  # fmt: skip
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
    runs_lib.runs(small, dict.fromkeys(small.models, (1.0,)))
  assert '\n' not in str(error.value)


def test_states(small, tmp_path):
  name = 'cgqn-variance0.01-seed0'
  runs = comparison_files.experiment(
    small, tmp_path, comparison_files.gaining, (name,)
  )
  states = [runs_lib.state(small, run, tmp_path) for run in runs]
  assert states[0][:3] == (0, False, 'not started')
  assert [its[:3] for its in states[1:]] == [(1500, True, 'finished')] * 7
  (tmp_path / name / 'checkpoints' / '188').mkdir(parents=True)
  # A checkpoint that is being written is none yet.
  (tmp_path / name / 'checkpoints' / '376.orbax-checkpoint-tmp').mkdir()
  state = runs_lib.state(small, runs[0], tmp_path)
  assert state[:3] == (188, False, 'update 188 of 1,500')
  (tmp_path / name / 'checkpoints' / '1500').mkdir()
  assert not runs_lib.state(small, runs[0], tmp_path).finished
  # Nor is a run finished whose scenes have no scores of their own.
  (tmp_path / runs[2].name / runs_lib.PER_SCENE).unlink()
  state = runs_lib.state(small, runs[2], tmp_path)
  assert (state.finished, state.text) == (False, 'trained, not evaluated')
  # One that diverged, but got to its end on another machine.
  runs_lib.record_divergence(small, runs[0], tmp_path)
  assert not runs_lib.state(small, runs[0], tmp_path).diverged
  (tmp_path / name / 'checkpoints' / '1500').rmdir()
  assert runs_lib.state(small, runs[0], tmp_path).diverged
  # Somebody has evaluated it for himself, into the same folder.
  path = tmp_path / runs[3].name / runs_lib.METRICS
  its = json.loads(path.read_text())
  path.write_text(json.dumps(its | {'protocol': its['protocol'] | {'seed': 1}}))
  state = runs_lib.state(small, runs[3], tmp_path)
  assert (state.finished, state.text[-14:]) == (False, 'other settings')
  # What was evaluated otherwise is not taken for this.
  small.evaluation.num_samples = 7
  state = runs_lib.state(small, runs[1], tmp_path)
  assert (state.finished, state.text[-14:]) == (False, 'other settings')


def test_the_best_are_chosen_on_validation_scenes():
  rows = [
    {'run': i, 'model': 'cgqn', 'variance': 0.9, 'negative_elbo': elbo}
    | {'validation_loss': loss}
    for i, (loss, elbo) in enumerate([(3.0, 1), (1.0, 4), (None, 0), (2.0, 3)])
  ]
  chosen = [r['run'] for r in results.choose(rows, 0.5, 1) if r['chosen']]
  assert chosen == [1, 3]
  assert not any(r['chosen'] for r in results.choose(rows, 0.5, 7))
  # 30 % are 4 of 15 and 3 of 10, as in the paper.
  for count, best in (15, 4), (10, 3), (7, 2):
    its = [rows[0] | {'validation_loss': float(i)} for i in range(count)]
    found = sum(r['chosen'] for r in results.choose(its, 0.3, 7))
    assert found == best, count
  # Of 15 runs two diverged: still four are the best, of the 13 that are left.
  lost = [runs_lib.Run(i, 'cgqn', None, i, '', (), 1) for i in range(2)]
  its = [rows[0] | {'validation_loss': float(i)} for i in range(13)]
  assert sum(r['chosen'] for r in results.choose(its, 0.3, 7, lost)) == 4


def test_rows_are_flat_and_say_their_protocol(small, tmp_path):
  runs = comparison_files.experiment(small, tmp_path, comparison_files.gaining)
  row = results.row(runs[0], tmp_path)
  assert not any(isinstance(value, dict) for value in row.values())
  for name, value in {
    'run': 'cgqn-variance0.01-seed0', 'model': 'cgqn', 'variance': 0.01,
    'seed': 0, 'num_steps': 1500, 'train_seconds': 100.0, 'kl_3': 4.2,
    'validation_loss': -10.0, 'error_negative_elbo': 2.5, 'protocol_seed': 0,
    'protocol_num_scenes': 200, 'protocol_split': 'test',
    'version_jax': '0.10', 'date': '2020-01-02', 'parameters': 1000,
  }.items():  # fmt: skip
    assert row[name] == value, name
  results.write_rows(tmp_path, [row])
  assert results.read_rows(tmp_path) == [row]
  with pytest.raises(ValueError, match='compare.py --out=.* writes it'):
    results.read_rows(tmp_path / 'none')


def test_a_run_fails_on_validation_scenes_alone():
  row = {
    'protocol_model': 'gqn', 'validation_kl': 5.0, 'best_of_30': 0.02,
    'validation_best_of_10': 0.02, 'validation_best_of_30': 0.01,
    'validation_copy_last_frame': 0.011, 'copy_last_frame': 0.011, 'kl': 0.0,
  }  # fmt: skip
  row['best_of_10'] = 0.02
  assert results.failure(row) is None
  assert results.failure(row | {'validation_kl': 0.099}) == 'KL 0.099'
  # CDNA has no latent whose KL could tell.
  cdna = row | {'validation_kl': 0.0, 'protocol_model': 'cdna'}
  assert results.failure(cdna) is None
  worse = row | {'validation_best_of_30': 0.012}
  assert results.failure(worse) == 'worse than copying'
  # Fewer samples on validation scenes than on those of the tables.
  del worse['validation_best_of_30']
  assert results.failure(worse) == 'worse than copying'
