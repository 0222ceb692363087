"""The choice of settings: which trials there are, and which is best."""

import json
import shutil

import pytest

from cgqn_jax import cli
from cgqn_jax.comparison import runs as runs_lib
from cgqn_jax.comparison import trials
from configs import comparison as videos
from configs import dice_comparison


@pytest.fixture
def small():
  config = videos.get_config('preset=small').unlock()
  config.compared = 'cgqn,cdna'
  return config


def plan(config):
  return trials.runs(config, dict.fromkeys(config.models, (0.4, 0.2)))


def try_(config, out, scores, diverged=()):
  """All trials at their ends, with these scores on validation scenes."""
  found = plan(config)
  for run, score in zip(found, scores, strict=True):
    workdir = out / run.name
    if run.name in diverged:
      workdir.mkdir(parents=True)
      runs_lib.record_divergence(config, run, out)
      continue
    (workdir / 'checkpoints' / str(run.num_steps)).mkdir(parents=True)
    (workdir / 'validation').mkdir()
    result = {'metrics': {'best_of_30': score}, 'protocol': {'split': '...'}}
    path = workdir / runs_lib.VALIDATION
    path.write_text(json.dumps(result))
    assert not runs_lib.state(config, run, out).finished
    trials.record(config, run, out)
    assert runs_lib.state(config, run, out).finished
  return found


@pytest.mark.parametrize('module', [videos, dice_comparison])
@pytest.mark.parametrize(
  ('preset', 'count'), [('smoke', 2), ('small', 3), ('paper', 6)]
)
def test_as_many_trials_of_each_model(module, preset, count):
  config = module.get_config(f'preset={preset}')
  for name in config.models:
    its = config.models[name].trials
    assert len(set(its)) == count and its[0] == '', name
  found = plan(config)
  assert len(found) == count * len(config.models)
  assert [run.number for run in found] == list(range(1, len(found) + 1))
  assert {run.seed for run in found}.isdisjoint(config.seeds)


def test_trials_are_short_and_differ_in_their_overrides(small):
  found = plan(small)
  assert [run.name for run in found[:3]] == [
    'trials/cgqn-1', 'trials/cdna-1', 'trials/cgqn-2',
  ]  # fmt: skip
  assert '--config.num_steps=250' in found[0].flags
  assert found[0].num_steps == 250 and small.num_steps == 750
  assert set(found[2].flags) - set(found[0].flags) == {
    '--config.learning_rate.values=0,1e-3,2.5e-5'
  }
  # What all trials of the model have in common comes first.
  assert '--config.model.renderer_sees_context=False' in found[0].flags


def test_they_see_validation_scenes_alone(small):
  its = runs_lib.on_validation(small)
  assert its['split'] == 'validation' and its['num_scenes'] == 30
  assert its['num_samples'] == 30 and its['step'] == 'latest'
  assert 'evaluation' not in runs_lib.asked(small, plan(small)[0])


def test_the_least_error_is_chosen(small, tmp_path):
  scores = [0.010, 0.012, 0.008, 0.013, 0.009, 0.011]
  found = try_(small, tmp_path, scores)
  chosen = trials.choose(small, found, tmp_path)
  assert trials.read(small, tmp_path) == json.loads(json.dumps(chosen))
  assert trials.overrides(chosen) == {
    'cgqn': 'learning_rate.values=0,1e-3,2.5e-5',
    'cdna': 'model.truth_half_life=0.2',
  }
  text = trials.table(chosen)
  line = '| cgqn | 2 | `learning_rate.values=0,1e-3,2.5e-5` | 8.000 | yes |'
  assert line in text and "| cgqn | 1 | preset's own | 10.000 |  |" in text
  assert '30 validation scenes' in text
  # The comparison takes them, and says so in what it asks of its runs.
  values = dict.fromkeys(small.models, (1.0,))
  runs = runs_lib.runs(small, values, trials.overrides(chosen))
  assert '--config.learning_rate.values=0,1e-3,2.5e-5' in runs[0].flags
  assert '--config.model.truth_half_life=0.2' in runs[1].flags
  plain = runs_lib.runs(small, values)
  assert [r.name for r in plain] == [r.name for r in runs]


def test_what_diverged_was_tried(small, tmp_path):
  scores = [0.010, 0.012, 0.008, 0.013, 0.009, 0.011]
  found = try_(small, tmp_path, scores, diverged=('trials/cgqn-2',))
  chosen = trials.choose(small, found, tmp_path)
  assert chosen['models']['cgqn']['trial'] == 3
  assert '| diverged |  |' in trials.table(chosen)
  for number in (1, 3):
    run = found[2 * number - 2]
    shutil.rmtree(tmp_path / run.name / 'checkpoints')
    runs_lib.record_divergence(small, run, tmp_path)
  with pytest.raises(ValueError, match='all trials of cgqn diverged'):
    trials.choose(small, found, tmp_path)


def test_divergence_has_an_exit_code_of_its_own(capsys):
  """By which compare.py tells it from a mistake, or a machine that failed."""

  def program():
    raise FloatingPointError('the loss was not finite')

  with pytest.raises(SystemExit) as stop:
    cli._run(program, ['train.py'])
  assert stop.value.code == cli.DIVERGED
  assert capsys.readouterr().err == 'error: the loss was not finite\n'


def test_ctrl_c_is_no_traceback(capsys):
  def program():
    raise KeyboardInterrupt

  with pytest.raises(SystemExit) as stop:
    cli._run(program, ['evaluate.py'])
  assert stop.value.code == 130
  assert capsys.readouterr().err == '\nstopped by Ctrl-C\n'


def test_mistakes(small, tmp_path):
  assert trials.read(small, tmp_path) is None
  with pytest.raises(ValueError, match='6 of 6 trials are not finished'):
    trials.choose(small, plan(small), tmp_path)
  trials.choose(small, try_(small, tmp_path, [0.01] * 6), tmp_path)
  small.compared = 'cgqn,gqn'
  with pytest.raises(ValueError, match='not made with these trials of gqn'):
    trials.read(small, tmp_path)
  small.models.gqn.trials = ('', 'batch_size=4')
  with pytest.raises(ValueError, match='cgqn 3, gqn 2'):
    plan(small)
  small.compared, small.validation.num_samples = 'cgqn', 10
  with pytest.raises(
    ValueError, match="is 'best_of_30'; with .*num_samples=10"
  ):
    plan(small)
  small.validation.num_samples, small.trials.seed = 30, 1
  with pytest.raises(ValueError, match='trials.seed is 1'):
    plan(small)
  dice = dice_comparison.get_config().unlock()
  dice.models.gqn.trials = ('pixel_variance.values=1,1',) * 6
  with pytest.raises(ValueError, match='so do final_variances'):
    plan(dice)
