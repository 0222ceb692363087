"""Seeds that are trained together are what each would be alone."""

import pathlib
import shutil

import chex
import pytest

from tests.experiments.trained_files import restore, rows


@pytest.fixture(scope='module')
def train(programs, tiny):
  """Trains seeds 0 and 3 at once; returns what was printed."""

  def run(workdir: pathlib.Path) -> str:
    flags = [*tiny, '--seeds=0,3', f'--workdir={workdir}']
    (done,) = programs([['train.py', *flags]])
    assert done.code == 0, done.err
    return done.out

  return run


@pytest.fixture(scope='module')
def together(tmp_path_factory, train) -> pathlib.Path:
  """The folder of both runs, without what comes behind '-seed'."""
  workdir = tmp_path_factory.mktemp('runs') / 'both'
  assert 'from update 0' in train(workdir)
  return workdir


def test_one_of_them_is_the_run_alone(together, finished):
  """To the bit: state, log and config, at every checkpoint."""
  mine = pathlib.Path(f'{together}-seed0')
  for step in (4, 12):
    chex.assert_trees_all_equal(restore(mine, step), restore(finished, step))
  assert rows(mine) == rows(finished)
  config = 'config.json'
  assert (mine / config).read_text() == (finished / config).read_text()
  assert sorted(p.name for p in (mine / 'images').iterdir()) == sorted(
    p.name for p in (finished / 'images').iterdir()
  )


@pytest.mark.slow
def test_so_is_the_other_one(together, programs, tiny, tmp_path):
  """Its parameters, data and noise are those of its own seed."""
  alone = tmp_path / 'alone'
  flags = [*tiny, '--config.seed=3', f'--workdir={alone}']
  (done,) = programs([['train.py', *flags]])
  assert done.code == 0, done.err
  other = pathlib.Path(f'{together}-seed3')
  chex.assert_trees_all_equal(restore(other, 12), restore(alone, 12))
  assert rows(other) == rows(alone)
  first = rows(pathlib.Path(f'{together}-seed0'))
  for a, b in zip(first, rows(other), strict=True):
    assert a['step'] == b['step'] and a['loss'] != b['loss']


def test_they_resume_from_the_last_update_that_all_have(
  together, tmp_path, train
):
  copy = tmp_path / 'copy'
  for seed in (0, 3):
    shutil.copytree(f'{together}-seed{seed}', f'{copy}-seed{seed}')
    shutil.rmtree(f'{copy}-seed{seed}/checkpoints/12')
  # As if killed between the saving of one and of the other.
  shutil.rmtree(f'{copy}-seed3/checkpoints/8')
  assert 'resuming at update 4' in train(copy)
  for seed in (0, 3):
    resumed, whole = (
      pathlib.Path(f'{name}-seed{seed}') for name in (copy, together)
    )
    chex.assert_trees_all_equal(restore(resumed, 12), restore(whole, 12))
    assert rows(resumed) == rows(whole)


def test_mistakes_cost_one_line(together, programs, tiny, train, tmp_path):
  """A finished seed is passed over; the others must share an update."""
  apart = tmp_path / 'apart'
  for seed, gone in ((0, (12,)), (3, (4, 8, 12))):
    shutil.copytree(f'{together}-seed{seed}', f'{apart}-seed{seed}')
    for step in gone:
      shutil.rmtree(f'{apart}-seed{seed}/checkpoints/{step}')
  new = f'--workdir={tmp_path / "new"}'
  cases = [
    (['--seeds=0,x', new], "--seeds is '0,x'; give numbers"),
    (['--seeds=1,1', new], "--seeds is '1,1'; give each once"),
    (['--seeds=', new], 'give numbers'),
    (['--seeds=0,3', f'--workdir={apart}'], 'no update that all have saved'),
  ]
  done = programs([['train.py', *tiny, *case] for case, _ in cases])
  for (_, message), ran in zip(cases, done, strict=True):
    assert ran.code == 1 and message in ran.err and ran.err.count('\n') == 1
  assert not list(tmp_path.glob('new*'))
  assert train(together).count('is finished') == 2
