"""Training is killed and resumed to the bit; mistakes cost one line."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

from cgqn_jax.training.update import create_state
from cgqn_jax.training.workdir import (
  begin_from,
  checkpoint_step,
  load,
  read_workdir,
)
from tests.experiments.trained_files import restore, rows

ROOT = pathlib.Path(__file__).parents[2]

# Kills its own process, as the machine would, right after row 6 of the log:
# two updates after checkpoint 4, for whose files it waits.
_KILLED = """
import os, pathlib, runpy, signal, sys, time
from cgqn_jax.training.metrics_log import Log
write = Log.scalars

def scalars(self, step, values, **split):
  write(self, step, values, **split)
  if step == 6:
    while not pathlib.Path(os.environ['AWAITED']).is_dir():
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

Log.scalars = scalars
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  files = (p for p in folder.rglob('*') if p.is_file())
  return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture(
  scope='module',
  params=['draw', pytest.param('residual', marks=pytest.mark.slow)],
)
def runs(request, tmp_path_factory, env, programs) -> tuple[pathlib.Path, ...]:
  """An uninterrupted run, and one killed at update 6 and started again."""
  suffix = '' if request.param == 'draw' else '_residual'
  finished = request.getfixturevalue(f'finished{suffix}')
  flags = request.getfixturevalue(f'tiny{suffix}')
  workdir = tmp_path_factory.mktemp('runs') / 'resumed'
  command = ['experiments/train.py', *flags, f'--workdir={workdir}']
  killed = subprocess.run(
    [sys.executable, '-c', _KILLED, *command],
    env=env | {'AWAITED': str(workdir / 'checkpoints' / '4')},
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert killed.returncode == -signal.SIGKILL, killed.stderr
  assert [row['step'] for row in rows(workdir)] == [1, 2, 3, 4, 5, 6]
  (again,) = programs([command])
  assert again.code == 0, again.err
  assert 'resuming at update 4' in again.out
  return finished, workdir


def test_a_killed_run_ends_in_the_same_state(runs):
  for step in (8, 12):
    one, other = (restore(workdir, step) for workdir in runs)
    assert int(one.step) == step and one.ema_params is not None
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
      assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
  early = restore(runs[0], 4)
  moved = [
    np.abs(a - b).max() > 5e-4
    for a, b in zip(
      jax.tree.leaves(early.params), jax.tree.leaves(one.params), strict=True
    )
  ]
  assert np.mean(moved) > 0.9  # it does train


def test_a_killed_run_leaves_the_same_log(runs):
  expected, resumed = map(rows, runs)
  assert resumed == expected
  train = [row for row in expected if row['split'] == 'train']
  assert [row['step'] for row in train] == list(range(1, 13))
  for row in train:
    assert row['skipped'] == 0 and row['kl'] > 0
    np.testing.assert_allclose(
      row['loss'], row['kl'] - row['log_likelihood'], rtol=1e-5
    )
  assert len({row['loss'] for row in train}) == 12
  validated = [row['step'] for row in expected if row['split'] != 'train']
  assert validated == [6, 12]
  # At the schedule's last value, whatever the step.
  config = read_workdir(runs[0])
  last = config.pixel_variance['values'][-1]
  variances = [row['pixel_variance'] for row in (expected[-1], train[0])]
  assert variances[0] == np.float32(last) < variances[1]


def test_what_a_run_leaves(finished):
  assert {p.name for p in (finished / 'checkpoints').glob('[0-9]*')} == {
    '4', '8', '12',
  }  # fmt: skip
  assert json.loads((finished / 'config.json').read_text())['num_steps'] == 12
  assert list((finished / 'images').glob('*.png'))
  assert list((finished / 'tensorboard').iterdir())
  model, params, config = load(finished)
  assert config.model.nf_to_hidden == 4
  averaged = restore(finished, checkpoint_step(finished)).ema_params
  chex.assert_trees_all_equal(jax.device_get(params), averaged)


def test_what_is_exported_is_loaded_as_the_run(finished, programs, tmp_path):
  out = tmp_path / 'packed'
  (done,) = programs([['export.py', f'--workdir={finished}', f'--out={out}']])
  assert done.code == 0 and 'update 12 in' in done.out, done.err
  runs = [jax.device_get(load(folder)[1]) for folder in (finished, out)]
  chex.assert_trees_all_equal(*runs)
  assert read_workdir(out) == read_workdir(finished)
  versions = [folder / 'versions.json' for folder in (finished, out)]
  assert versions[0].read_text() == versions[1].read_text()


def test_a_run_begins_from_the_parameters_of_another(finished, capsys):
  model, params, config = load(finished, 'best')
  state = create_state(model, config)
  begun = begin_from(finished, state)
  chex.assert_trees_all_equal(begun.params, begun.ema_params, params)
  chex.assert_trees_all_equal(begun.opt_state, state.opt_state)
  assert begun.step == 0 and ' taken\n' in capsys.readouterr().out
  # A kernel of another shape stays fresh, and is named.
  renderer = state.params['renderer']
  name = sorted(renderer)[0]
  smaller = {name: jax.tree.map(lambda x: x[..., :1], renderer[name])}
  other = state._replace(params={'renderer': renderer | smaller})
  found = begin_from(finished, other).params['renderer'][name]
  chex.assert_trees_all_equal(found, smaller[name])
  assert f'new are renderer/{name}' in capsys.readouterr().out
  with pytest.raises(ValueError, match='none of its parameters fits'):
    begin_from(finished, state._replace(params={'w': np.zeros(3)}))


def test_mistakes_cost_one_line_and_nothing_else(
  finished, programs, tiny, tiny_residual, tmp_path
):
  foreign = tmp_path / 'thesis'
  foreign.mkdir()
  (foreign / 'thesis.tex').write_text('mine')
  new = f'--workdir={tmp_path / "new"}'
  config = 'configs/narratives.py'
  cases = [
    ([*tiny, '--config.nonsense=1', new], 'nonsense'),
    ([*tiny, '--nonsense=1', new], 'there is no flag --nonsense'),
    ([new], 'config'),
    ([*tiny, '--config.num_steps=many', new], 'num_steps'),
    ([*tiny, '--config.batch_size=0', new], 'batch_size is 0'),
    ([*tiny, '--config.data.frame_size=30', new], 'frame_size is 30'),
    ([*tiny, '--config.data.max_context=22', new], 'data.max_context is 22'),
    ([*tiny, '--config.data.source=web', new], "data.source is 'web'"),
    ([*tiny, '--config.optimizer.name=sgd', new], "optimizer.name is 'sgd'"),
    ([*tiny_residual, '--config.num_rendered=3', new], 'num_rendered is 3'),
    ([*tiny_residual, '--config.data.frame_size=20', new], 'multiples of 8'),
    ([*tiny, '--config.model.name=gan', new], "model.name is 'gan'"),
    ([*tiny, '--config.model.networks=deep', new], "networks is 'deep'"),
    ([*tiny, '--config.model.kernel=4', new], 'model.kernel is 4'),
    ([*tiny, '--config.model.encoder_widths=(8,)', new], 'is (8,)'),
    (
      ['--config=configs/none.py', new],
      "--config: No such file or directory: 'configs/none.py'",
    ),
    ([f'--config={config}:narrative=chess', new], "narrative is 'chess'"),
    ([f'--config={config}:preset=huge', new], "preset is 'huge'"),
    (
      [f'--config={config}:networks=residual,size=S', new],
      'the residual networks',
    ),
    ([f'--config={config}:colour=3', new], "no argument 'colour'"),
    ([*tiny, f'--workdir={foreign}'], 'not a cgqn_jax workdir'),
    ([*tiny, '--config.seed=5', f'--workdir={finished}'], 'seed is 0 there'),
  ]
  before = contents(finished)
  done = programs([['train.py', *case] for case, _ in cases])
  for (case, message), ran in zip(cases, done, strict=True):
    assert ran.code == 1 and ran.err.startswith('error: '), (case, ran)
    assert message in ran.err and ran.err.count('\n') == 1, (case, ran)
  assert not (tmp_path / 'new').exists()
  assert contents(foreign) == {'thesis.tex': b'mine'}
  assert contents(finished) == before


def test_a_finished_run_says_so(finished, programs, tiny):
  before = contents(finished)
  (done,) = programs([['train.py', *tiny, f'--workdir={finished}']])
  assert done.code == 0, done.err
  assert f'{finished} is finished: 12 updates applied' in done.out
  flags = f'--workdir={finished} '
  commands = [x for x in done.out.splitlines() if x.startswith('next: ')]
  for line, name in zip(commands, ('sample', 'evaluate'), strict=True):
    assert line.startswith(f'next: python experiments/{name}.py {flags}')
  after = contents(finished)
  # Another command line may be noted among the versions; nothing else.
  after.pop('versions.json'), before.pop('versions.json')
  assert after == before


def test_a_run_of_an_older_version_goes_on(finished, programs, tiny, tmp_path):
  """Its config says nothing of networks and optimizer: draw and Adam."""
  old = tmp_path / 'old'
  shutil.copytree(finished, old)
  shutil.rmtree(old / 'checkpoints' / '12')
  config = json.loads((old / 'config.json').read_text())
  del config['model']['networks'], config['optimizer']['name']
  (old / 'config.json').write_text(json.dumps(config))
  (done,) = programs([['train.py', *tiny, f'--workdir={old}']])
  assert done.code == 0, done.err
  assert 'resuming at update 8' in done.out
  chex.assert_trees_all_equal(restore(finished, 12), restore(old, 12))
  new = (old / 'config.json').read_text()
  assert new == (finished / 'config.json').read_text()
