"""Real command lines, as people mistype them: one line, nothing written."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = '--config=configs/narratives.py:preset=smoke'
EXPERIMENT = '--config=configs/comparison.py:preset=smoke'

# What follows train.py and its tiny config, and a part of the answer.
OF_TRAIN = [
  (['--config.log_every=-1'], 'log_every is -1; it must be a whole number'),
  (['--config.batch-size=4'], 'no field batch-size; the nearest is batch_size'),
  (['--config.learning_rate=fast'], "'fast'; it must be a number, for one"),
  (['--config.seed=2147483648'], 'seed is 2147483648; it must be'),
  (['--config.ema_decay=1.5'], 'ema_decay is 1.5; it must be a number'),
]
MORE_OF_TRAIN = [
  (['--config.seed=-1'], 'seed is -1'),
  (['--seeds=0,2147483648'], 'seed is 2147483648'),
  (['--config.num_steps=0'], 'num_steps is 0'),
  (['--config.num_steps=-3'], 'num_steps is -3'),
  (['--config.num_steps=1e6'], "num_steps is '1e6'; it must be a whole"),
  (['--config.num_steps='], "num_steps is ''; it must be a whole"),
  (['--config.batch_size=nan'], "batch_size is 'nan'"),
  (['--config.batch_size=99999999'], 'batch_size is 99999999'),
  (['--config.ema_decay=nan'], 'ema_decay is nan'),
  (['--config.ema_decay=-0.1'], 'ema_decay is -0.1'),
  (['--config.max_skipped_in_a_row=0'], 'max_skipped_in_a_row is 0'),
  (['--config.checkpoint_every=-5'], 'checkpoint_every is -5'),
  (['--config.picture_every=often'], "picture_every is 'often'"),
  (['--config.validation_scenes=0'], 'validation_scenes is 0'),
  (['--config.validation_best_of=-1'], 'validation_best_of is -1'),
  (['--config.keep_checkpoints=0'], 'keep_checkpoints is 0'),
  (['--config.optimizer.name=sgd'], "optimizer.name is 'sgd'"),
  (['--config.optimizer.b1=1'], 'optimizer.b1 is 1.0'),
  (['--config.optimizer.eps=0'], 'optimizer.eps is 0.0'),
  (['--config.optimizer.clip_norm=inf'], 'optimizer.clip_norm is inf'),
  (['--config.data.workers=-1'], 'data.workers is -1'),
  (['--config.data.frame_size=-16'], 'data.frame_size is -16'),
  (['--config.data.num_targets=0'], 'data.num_targets is 0'),
  (['--config.data.any_context_share=2'], 'data.any_context_share is 2.0'),
  (['--config.data.test_context=first'], "data.test_context is ('first',)"),
  (['--config.data.tiny=perhaps'], "data.tiny is 'perhaps'"),
  (['--config.data.tinny=True'], 'the nearest is data.tiny'),
  (['--noconfig.data.tinny'], 'the nearest is data.tiny'),
  (['--config.model.draw_steps=0'], 'model.draw_steps is 0'),
  (['--config.model.nf_z=0'], 'model.nf_z is 0'),
  (['--config.model.stride_to_hidden=0'], 'model.stride_to_hidden is 0'),
  (['--config.model=gqn'], 'model is '),
  (['--config.model.name=sssm'], 'there is no field model.'),
  (['--config.modle.name=gqn'], 'the nearest is model.name'),
  (['--config.lerning_rate=1'], 'the nearest is learning_rate'),
  (['--config.learning_rate.values=1e-3'], 'learning_rate.values is (0.001,)'),
  (['--config.learning_rate.values=1e-3,-1'], 'learning_rate.values is'),
  (['--config.learning_rate.boundaries=1,0'], 'learning_rate.boundaries is'),
  (['--config.pixel_variance.values=0,0'], 'pixel_variance.values is'),
  (['--config.pixel_variance.interpolation=spline'], "is 'spline'"),
  (['--batch_size=4'], 'the nearest is config.batch_size'),
  (['--wrokdir=x'], 'the nearest is workdir'),
  (['lost'], 'unknown arguments: lost'),
]
OTHERS = [
  (['compare.py', CONFIG, '--out=OUT'], 'is of one run'),
  (['compare.py', EXPERIMENT, '--config.seeds=', '--out=OUT'], 'seeds is'),
  (
    ['compare.py', EXPERIMENT, '--config.curve.points=0', '--out=OUT'],
    'curve.points is 0',
  ),
  (['jump.py', CONFIG, '--out=OUT'], 'is of one run'),
  (['benchmark.py', EXPERIMENT, '--out=OUT'], 'of an experiment of many runs'),
  (['benchmark.py', CONFIG, '--context=-1'], 'data.min_context is -1'),
]


def run_all(programs, cases, out):
  done = programs([command for command, _ in cases])
  for (command, message), ran in zip(cases, done, strict=True):
    assert ran.code == 1 and ran.err.startswith('error: '), (command, ran)
    assert message in ran.err and ran.err.count('\n') == 1, (command, ran)
  assert not out.exists()


def of_train(cases, tiny, out):
  return [
    (['train.py', *tiny, *flags, f'--workdir={out}'], message)
    for flags, message in cases
  ]


def test_a_handful(programs, tiny, tmp_path):
  out = tmp_path / 'new'
  other = ['train.py', EXPERIMENT, f'--workdir={out}']
  cases = [
    *of_train(OF_TRAIN, tiny, out),
    (other, 'of an experiment of many runs'),
  ]
  run_all(programs, cases, out)


@pytest.mark.slow
def test_many(programs, tiny, tmp_path):
  out = tmp_path / 'new'
  cases = of_train(MORE_OF_TRAIN, tiny, out)
  for command, message in OTHERS:
    cases.append(([c.replace('OUT', str(out)) for c in command], message))
  assert len(cases) >= 49
  run_all(programs, cases, out)


@pytest.mark.parametrize(
  ('switch', 'message'),
  [
    ({'JAX_PLATFORMS': 'cuda'}, "JAX_PLATFORMS is 'cuda', and"),
    pytest.param(
      {'JAX_PLATFORMS': 'nonsense'},
      "JAX_PLATFORMS is 'nonsense', and",
      marks=pytest.mark.slow,
    ),
    pytest.param(
      {'JAX_ENABLE_X64': '1'}, 'JAX_ENABLE_X64 is on', marks=pytest.mark.slow
    ),
  ],
)
def test_switches_of_jax(env, tiny, tmp_path, switch, message):
  out = tmp_path / 'new'
  command = [sys.executable, 'experiments/train.py', *tiny, f'--workdir={out}']
  if switch.get('JAX_PLATFORMS') == 'cuda' and has_gpu():
    pytest.skip('there is one')
  done = subprocess.run(
    command, env=env | switch, cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 1 and not out.exists(), done
  last = done.stderr.splitlines()[-1]
  assert last.startswith('error: ') and message in last, done.stderr
  assert 'Traceback' not in done.stderr


def has_gpu() -> bool:
  return os.path.exists('/proc/driver/nvidia')


@pytest.mark.slow
def test_never_is_at_the_end_alone(programs, tiny, tmp_path):
  never = ['log', 'picture', 'validate', 'checkpoint']
  flags = [f'--config.{name}_every=0' for name in never]
  out = tmp_path / 'new'
  (done,) = programs(
    [['train.py', *tiny, *flags, '--config.num_steps=3', f'--workdir={out}']]
  )
  assert done.code == 0, done.err
  assert [p.name for p in (out / 'checkpoints').glob('[0-9]*')] == ['3']
  rows = (out / 'metrics.jsonl').read_text().splitlines()
  assert len(rows) == 3  # updates 1 and 3, and the validation


@pytest.mark.slow
def test_a_finished_run_is_made_longer(finished, programs, tiny, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(finished, run)
  command = ['train.py', *tiny, '--config.num_steps=14', f'--workdir={run}']
  (done,) = programs([command])
  assert done.code == 0, done.err
  assert 'num_steps is raised from 12 to 14' in done.out
  assert 'resuming at update 12' in done.out
  assert (run / 'checkpoints' / '14').is_dir()
