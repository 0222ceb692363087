"""compare.py: lists, numbers, names what is missing, sums up the rest."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import pytest

from cgqn_jax import cli
from cgqn_jax.comparison import results, runs, scores, trials
from cgqn_jax.training.workdir import load
from configs import comparison as videos
from configs import dice_comparison
from tests import comparison_files

SMALL = '--config=configs/dice_comparison.py:preset=small'


def dice_metrics(run):
  kl_3 = 4.2 if run.model == 'cgqn' else 11.0
  return comparison_files.dice_metrics(-2990.0 - kl_3, 4.0, kl_3)


@pytest.fixture(scope='module')
def seven(tmp_path_factory):
  """7 of 8 runs are there, and one in its middle."""
  out = tmp_path_factory.mktemp('experiment')
  config = dice_comparison.get_config('preset=small')
  name = 'gqn-variance0.02-seed1'
  comparison_files.experiment(config, out, dice_metrics, (name,))
  (out / name / 'checkpoints' / '940').mkdir(parents=True)
  return out


def test_list_and_summary(seven, programs):
  command = ['compare.py', SMALL, f'--out={seven}']
  listed, summed = programs([[*command, '--list'], [*command, '--summary']])
  assert listed.code == 0, listed.err
  lines = [line.split() for line in listed.out.splitlines()]
  assert [line[0] for line in lines] == [str(n) for n in range(1, 9)]
  assert lines[7][1:] == 'gqn-variance0.02-seed1 update 940 of 1,500'.split()
  assert summed.code == 0, summed.err
  missing = 'missing: gqn-variance0.02-seed1: update 940 of 1,500'
  assert missing in summed.out and '7 of 8 runs are finished' in summed.out
  rows = results.read_rows(seven)
  assert len(rows) == 7 and sum(row['chosen'] for row in rows) == 4
  text = (seven / 'table.md').read_text()
  assert missing in text
  assert '| 0.01 | cgqn - gqn | 2, 2 | +6.80 |' in text
  assert '| 0.01 | cgqn | 2 | -2994.20 ± 0.00 |' in text
  result = json.loads((seven / 'comparison.json').read_text())
  assert list(result['missing']) == ['gqn-variance0.02-seed1']
  apart = result['differences'][0]
  assert apart['low'] > 0 and apart['a'] == 'cgqn' and apart['replicated']
  assert result['summary']['0.01']['gain']['gain'] == pytest.approx(-6.8)


def test_mistakes(programs, tmp_path):
  cases = [
    ([SMALL, '--run=9'], 'no run 9; --list shows them, 1 to 8'),
    ([SMALL, '--summary'], 'none of the 8 runs in'),
    ([SMALL, '--list', '--config.compared=cgqn,vae'], "'vae'"),
    ([SMALL, '--list', '--config.base=configs/no.py'], 'base: No such'),
    ([SMALL, '--list', '--config.bias=1'], 'bias'),
    (['--config=configs/no.py', '--list'], 'configs/no.py'),
    (['--config=configs/narratives.py', '--list'], 'no experiment'),
  ]
  done = programs([['compare.py', f'--out={tmp_path}', *c] for c, _ in cases])
  for (case, message), its in zip(cases, done, strict=True):
    assert its.code == 1 and 'Traceback' not in its.err, (case, its)
    assert message in its.err and its.err.count('\n') <= 2, (case, its)
  assert list(tmp_path.iterdir()) == []


def test_a_run_is_evaluated_as_asked(finished, tmp_path):
  """Its curve ends with the number of the table: same scenes, draws, noise."""
  workdir = tmp_path / 'run'
  shutil.copytree(finished, workdir, ignore=shutil.ignore_patterns('eval'))
  table = {
    'split': 'validation', 'step': 'latest', 'num_scenes': 4, 'num_draws': 2,
    'num_samples': 3, 'batch_size': 4, 'seed': 0,
  }  # fmt: skip
  asked = {'validation': table, 'evaluation': table}
  asked['curve'] = table | {'points': 2}
  scores.evaluate_run(workdir, asked)
  curve = runs.read_curve(workdir)
  # 4, 8 and 12 were saved; checkpoints between the points are none.
  assert [point['step'] for point in curve['points']] == [12]
  metrics = json.loads((workdir / runs.METRICS).read_text())['metrics']
  for name in ('negative_elbo', 'kl', 'best_of_3'):
    value = curve['points'][0][name]
    assert value == pytest.approx(metrics[name], rel=1e-5), name
  _, params, _ = load(workdir, 12)
  count = sum(x.size for x in jax.tree.leaves(params))
  assert curve['parameters'] == count and curve['flops_per_update'] > 0
  assert curve['asked'] == asked
  assert curve['evaluated'] == runs.evaluated(workdir)
  assert len(results.read_per_scene(workdir)['example_id']) == 4
  assert (workdir / runs.VALIDATION).exists()


@pytest.mark.parametrize(
  ('error', 'code', 'text'),
  [
    # By which cluster jobs tell it from a mistake, or a machine that failed.
    (
      FloatingPointError('the loss was not finite'),
      cli.DIVERGED,
      'error: the loss was not finite\n',
    ),
    (
      KeyboardInterrupt(),
      130,
      '\nstopped by Ctrl-C; the same command begins anew\n',
    ),
  ],
)
def test_ends_that_are_no_mistakes(error, code, text, capsys):
  def program():
    raise error

  with pytest.raises(SystemExit) as stop:
    cli._run(program, ['compare.py'])
  assert stop.value.code == code
  assert capsys.readouterr().err == text


def test_trials_choose_and_the_runs_take_it(programs, tmp_path):
  """Listed, chosen from what is there, and in the flags of the runs."""
  config = videos.get_config('preset=small')
  found = trials.runs(config, dict.fromkeys(config.models, (1.0,)))
  command = ['compare.py', '--config=configs/comparison.py:preset=small',
             f'--out={tmp_path}']  # fmt: skip
  (early,) = programs([[*command, '--tune', '--summary']])
  assert early.code == 1 and '18 of 18 trials are not finished' in early.err
  for run in found:
    score = 0.01 - 1e-3 * (run.trial == 2)
    comparison_files.finish_trial(config, run, tmp_path, score)
  listed, tuned, plain = programs(
    [[*command, '--tune', '--list'], [*command, '--tune'], [*command, '--list']]
  )
  lines = [line.split() for line in listed.out.splitlines()]
  assert len(lines) == 18 and ['11', 'trials/cgqn-2', 'finished'] in lines
  assert tuned.code == 0, tuned.err
  assert (
    '| sv2p | 2 | `learning_rate.values=0,1e-3,2.5e-5` | 9.000' in tuned.out
  )
  assert plain.code == 0, plain.err
  assert 'cdna: learning_rate.values=0,1e-3,2.5e-5' in plain.out
  assert '  1  sssm-seed0' in plain.out


@pytest.mark.slow
def test_an_experiment_from_start_to_end(tiny, env, tmp_path):
  """Two models train, two seeds of each in one process, and a third fails.

  The second call has nothing to train.
  """
  own = [flag for flag in tiny[1:] if 'num_steps' not in flag]
  own = [flag for flag in own if '_every' not in flag and 'keep' not in flag]
  overrides = ' '.join(flag.removeprefix('--config.') for flag in own)
  command = [
    sys.executable, 'experiments/compare.py', f'--out={tmp_path}',
    '--config=configs/comparison.py:preset=smoke', '--config.seeds=0,1',
    '--together',
    '--config.compared=cgqn,gqn,sssm', '--config.num_steps=8',
    f'--config.overrides={overrides}',
    '--config.models.sssm.overrides=model.no_such_field=1',
  ]  # fmt: skip

  def call():
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(
      command, env=env, cwd=root, capture_output=True, text=True
    )

  first = call()
  assert first.returncode == 1
  failed = 'error: 2 runs failed: sssm-seed0, sssm-seed1'
  assert first.stderr.splitlines()[-1] == failed
  assert '== cgqn: training seeds 0,1 together' in first.stdout
  assert 'sssm failed; its seeds follow one by one' in first.stdout
  assert '== run 2 of 6: gqn-seed0 (1 finished, about' in first.stdout
  rows = results.read_rows(tmp_path)
  assert [row['run'] for row in rows] == [
    'cgqn-seed0', 'gqn-seed0', 'cgqn-seed1', 'gqn-seed1'
  ]  # fmt: skip
  assert all(row['train_seconds'] >= 0 for row in rows)
  before = (tmp_path / 'runs.jsonl').read_text()
  second = call()
  assert 'run 1 of 6' not in second.stdout and 'run 3 of 6' in second.stdout
  assert (tmp_path / 'runs.jsonl').read_text() == before
