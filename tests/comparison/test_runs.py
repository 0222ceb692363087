"""Which runs and trials there are, how far they are, and what is chosen."""

import json
import shutil

import pytest

from cgqn_jax.comparison import runs as runs_lib
from cgqn_jax.comparison import trials
from configs import comparison, dice, dice_comparison, narratives
from tests import comparison_files


@pytest.fixture
def small():
  return dice_comparison.get_config('preset=small').unlock()


@pytest.fixture
def videos():
  config = comparison.get_config('preset=small').unlock()
  config.compared = 'cgqn,cdna'
  return config


def runs_of(config, plan=runs_lib.runs):
  return plan(config, dict.fromkeys(config.models, (0.04, 0.005, 1.0)))


def test_runs_differ_in_model_seed_and_the_last_variance_alone(small):
  runs = runs_of(small)
  assert [run.name for run in runs] == [
    'cgqn-variance0.01-seed0', 'gqn-variance0.01-seed0',
    'cgqn-variance0.02-seed0', 'gqn-variance0.02-seed0',
    'cgqn-variance0.01-seed1', 'gqn-variance0.01-seed1',
    'cgqn-variance0.02-seed1', 'gqn-variance0.02-seed1',
  ]  # fmt: skip
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
  # A further seed renumbers nothing.
  small.seeds = (0, 1, 2)
  assert runs_of(small)[:8] == runs


def test_the_paper_has_four_runs_at_four_variances():
  config = dice_comparison.get_config()
  values = {
    name: dice.get_config(entry.arguments).pixel_variance['values']
    for name, entry in config.models.items()
  }
  runs = runs_lib.runs(config, values)
  assert len(runs) == 2 * 4 * 4
  schedules = {flag for run in runs for flag in run.flags if 'variance' in flag}
  assert '--config.pixel_variance.values=2,0.2,0.4,0.9' in schedules
  assert len(schedules) == 4 and all('=2,0.2,0.4,' in s for s in schedules)
  assert '--config.num_steps=400000' in runs[0].flags


def test_the_videos_have_one_row_whose_renderer_sees_the_context():
  config = comparison.get_config('preset=small')
  names = runs_lib.compared(config)
  assert names == ['sssm', 'sv2p', 'cdna', 'gqn', 'cgqn', 'cgqn_context']
  assert len(config.seeds) >= 3
  flag = '--config.model.renderer_sees_context='
  seeing = {
    (run.model, f.removeprefix(flag))
    for run in runs_of(config)
    for f in run.flags
    if f.startswith(flag)
  }
  # The preset alone would say True.
  assert seeing == {
    ('gqn', 'False'), ('cgqn', 'False'), ('cgqn_context', 'True'),
  }  # fmt: skip
  narratives.get_config(config.models.cgqn_context.arguments)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'compared': 'cgqn,vae'}, "'vae'; config.models has cgqn, gqn"),
    ({'compared': 'cgqn,cgqn'}, 'each once'),
    ({'seeds': (1, 1)}, 'seeds is'),
    ({'num_steps': 0}, 'num_steps is 0'),
    ({'curve.points': 0}, 'curve.points is 0'),
    ({'validation.num_scenes': 0}, 'validation.num_scenes is 0'),
  ],
)
def test_mistakes_of_runs(small, fields, message):
  small.update_from_flattened_dict(fields)
  with pytest.raises(ValueError, match=message) as error:
    runs_of(small)
  assert '\n' not in str(error.value)


def test_states(small, tmp_path):
  def metrics(run):
    return comparison_files.dice_metrics(-2990.0, 4.0, 4.2)

  def state(run):
    return runs_lib.state(small, run, tmp_path)

  runs = runs_of(small)
  name = runs[0].name
  runs = comparison_files.experiment(small, tmp_path, metrics, (name,))
  assert [state(run) for run in runs] == ['not started', *['finished'] * 7]
  (tmp_path / name / 'checkpoints' / '188').mkdir(parents=True)
  # A checkpoint that is being written is none yet.
  (tmp_path / name / 'checkpoints' / '376.orbax-checkpoint-tmp').mkdir()
  assert state(runs[0]) == 'update 188 of 1,500'
  runs_lib.record_divergence(small, runs[0], tmp_path)
  assert state(runs[0]) == runs_lib.LOST
  # But it got to its end on another machine.
  (tmp_path / name / 'checkpoints' / '1500').mkdir()
  assert state(runs[0]) == 'trained, not evaluated'
  # Nor is a run finished whose scenes have no scores of their own.
  (tmp_path / runs[2].name / runs_lib.PER_SCENE).unlink()
  assert state(runs[2]) == 'trained, not evaluated'
  # Somebody has evaluated it for himself, into the same folder.
  path = tmp_path / runs[3].name / runs_lib.METRICS
  result = json.loads(path.read_text())
  result['protocol']['seed'] = 1
  path.write_text(json.dumps(result))
  assert state(runs[3]) == 'trained or evaluated with other settings'
  # What was evaluated otherwise is not taken for this.
  small.evaluation.num_samples = 7
  assert state(runs[1]) == 'trained or evaluated with other settings'


@pytest.mark.parametrize('module', [comparison, dice_comparison])
@pytest.mark.parametrize(
  ('preset', 'count'), [('smoke', 2), ('small', 3), ('paper', 6)]
)
def test_as_many_trials_of_each_model(module, preset, count):
  config = module.get_config(f'preset={preset}')
  for name, entry in config.models.items():
    assert len(set(entry.trials)) == count and entry.trials[0] == '', name
  found = runs_of(config, trials.runs)
  assert len(found) == count * len(config.models)
  assert {run.seed for run in found}.isdisjoint(config.seeds)


def test_trials_are_short_and_differ_in_their_overrides(videos):
  found = runs_of(videos, trials.runs)
  assert [run.name for run in found[:3]] == [
    'trials/cgqn-1', 'trials/cdna-1', 'trials/cgqn-2',
  ]  # fmt: skip
  assert found[0].num_steps == 250 and videos.num_steps == 750
  assert '--config.num_steps=250' in found[0].flags
  assert '--config.checkpoint_every=250' in found[0].flags
  assert set(found[2].flags) - set(found[0].flags) == {
    '--config.learning_rate.values=0,1e-3,2.5e-5'
  }
  # What all trials of the model have in common comes first.
  assert '--config.model.renderer_sees_context=False' in found[0].flags
  # They see validation scenes alone.
  asked = runs_lib.asked(videos, found[0])
  assert set(asked) == {'flags', 'validation'}
  validation = asked['validation']
  assert validation['split'] == 'validation'
  assert validation['num_scenes'] == 30 and validation['step'] == 'latest'


def tried(config, out, scores):
  """All trials at their ends, with these scores."""
  found = runs_of(config, trials.runs)
  for run, score in zip(found, scores, strict=True):
    comparison_files.finish_trial(config, run, out, score)
    ends = runs_lib.LOST if score is None else runs_lib.FINISHED
    assert runs_lib.state(config, run, out) == ends
  return found


def test_the_least_error_is_chosen(videos, tmp_path):
  found = tried(videos, tmp_path, [0.010, 0.012, 0.008, 0.013, 0.009, 0.011])
  chosen = trials.choose(videos, found, tmp_path)
  assert trials.read(videos, tmp_path) == json.loads(json.dumps(chosen))
  overrides = trials.overrides(chosen)
  assert overrides == {
    'cgqn': 'learning_rate.values=0,1e-3,2.5e-5',
    'cdna': 'model.truth_half_life=0.2',
  }
  text = trials.table(chosen)
  line = '| cgqn | 2 | `learning_rate.values=0,1e-3,2.5e-5` | 8.000 | yes |'
  assert line in text and "| cgqn | 1 | preset's own | 10.000 |  |" in text
  assert '30 validation scenes' in text
  # The comparison takes them.
  runs = runs_lib.runs(videos, dict.fromkeys(videos.models, ()), overrides)
  assert '--config.learning_rate.values=0,1e-3,2.5e-5' in runs[0].flags
  assert '--config.model.truth_half_life=0.2' in runs[1].flags
  assert [r.name for r in runs] == [r.name for r in runs_of(videos)]
  # Not so with other trials.
  videos.compared = 'cgqn,gqn'
  with pytest.raises(ValueError, match='not made with these trials of gqn'):
    trials.read(videos, tmp_path)


def test_what_diverged_was_tried(videos, tmp_path):
  assert trials.read(videos, tmp_path) is None
  with pytest.raises(ValueError, match='6 of 6 trials are not finished'):
    trials.choose(videos, runs_of(videos, trials.runs), tmp_path)
  found = tried(videos, tmp_path, [0.010, 0.012, None, 0.013, 0.009, 0.011])
  chosen = trials.choose(videos, found, tmp_path)
  assert chosen['models']['cgqn']['trial'] == 3
  assert '| diverged |  |' in trials.table(chosen)
  for run in (found[0], found[4]):
    shutil.rmtree(tmp_path / run.name / 'checkpoints')
    runs_lib.record_divergence(videos, run, tmp_path)
  with pytest.raises(ValueError, match='all trials of cgqn diverged'):
    trials.choose(videos, found, tmp_path)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'models.cdna.trials': ('', 'batch_size=4')}, 'cgqn 3, cdna 2'),
    ({'validation.num_samples': 10}, "'best_of_30'; with .*num_samples=10"),
    ({'trials.seed': 1}, 'trials.seed is 1'),
    (
      {
        'final_variances': (0.1,),
        'models.cgqn.trials': ('pixel_variance.values=1,1',) * 3,
      },
      'so do final_variances',
    ),
  ],
)
def test_mistakes_of_trials(videos, fields, message):
  videos.update_from_flattened_dict(fields)
  with pytest.raises(ValueError, match=message):
    runs_of(videos, trials.runs)
