"""Checkpoints restore exactly what was saved, or say why they cannot."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from cgqn_jax.training.checkpoints import (
  Checkpoints,
  resolve,
  restore,
  restore_params,
  saved_steps,
)
from cgqn_jax.training.update import TrainState

OPTIMISER = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


def make_state(step: int, *, width: int = 5, ema: bool = True) -> TrainState:
  random = np.random.default_rng(step)

  def draw(*shape):
    return jnp.asarray(random.normal(size=shape), jnp.float32)

  params = {'encoder': {'kernel': draw(3, width), 'bias': draw(width)}}
  opt_state = OPTIMISER.init(params)
  opt_state = jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), opt_state)
  averaged = jax.tree.map(lambda x: x / 2, params) if ema else None
  return TrainState(jnp.int32(step), params, opt_state, averaged)


def assert_identical(actual: TrainState, expected: TrainState) -> None:
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    assert isinstance(a, jax.Array)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def save(folder: pathlib.Path, *steps: int) -> None:
  with Checkpoints(folder) as checkpoints:
    for step in steps:
      checkpoints.save(make_state(step))


@pytest.mark.parametrize('ema', [True, False])
def test_round_trip_is_exact(tmp_path, ema):
  state, folder = make_state(7, ema=ema), tmp_path / 'c'
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(state)
    checkpoints.save(state)  # saved already
  assert saved_steps(folder) == [7]
  template = jax.eval_shape(lambda: make_state(0, ema=ema))
  assert_identical(restore(folder, template), state)
  params = restore_params(folder, template.params)
  assert_identical(params, state.ema_params if ema else state.params)


def test_donating_the_state_at_once_does_not_change_the_checkpoint(tmp_path):
  double = jax.jit(lambda s: jax.tree.map(lambda x: x + x, s), donate_argnums=0)
  expected = make_state(3)
  state = jax.tree.map(jnp.array, expected)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state)
    for _ in range(20):
      state = double(state)
  restored = restore(tmp_path, expected)
  assert_identical(restored, expected)
  double(restored)  # restored arrays can be donated, too
  assert_identical(restore(tmp_path, expected), expected)


def test_keeps_the_last_two_and_the_best(tmp_path):
  losses = {1: 9.0, 2: 3.0, 3: 5.0, 4: float('nan'), 5: 4.0, 6: None, 7: 8.0}
  with Checkpoints(tmp_path, keep=2) as checkpoints:
    for step, loss in losses.items():
      checkpoints.save(make_state(step), loss)
  assert saved_steps(tmp_path) == [2, 6, 7]
  with Checkpoints(tmp_path, keep=2) as checkpoints:  # also after a restart
    assert resolve(tmp_path, 'best') == 2
    checkpoints.save(make_state(8), 1.0, wait=True)
    assert saved_steps(tmp_path) == [7, 8]
  assert int(restore(tmp_path, make_state(0), 'best').step) == 8
  assert int(restore(tmp_path, make_state(0), 7).step) == 7


def test_damage_is_noticed_whatever_the_file(tmp_path, capfd):
  save(tmp_path, 3, 4)
  expected = make_state(4)
  files = [p for p in (tmp_path / '4').rglob('*') if p.is_file()]
  noticed = 0
  for path in files:
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]
    for damaged in (data[:middle], flipped):
      path.write_bytes(damaged)
      try:
        restored = restore(tmp_path, expected)
      except ValueError as error:
        noticed += 1
        assert str(tmp_path / '4') in str(error)
        assert 'move that folder away to resume from checkpoint 3' in str(error)
        assert '\n' not in str(error)
      else:  # a file that holds no number
        assert_identical(restored, expected)
      path.write_bytes(data)
  assert noticed >= 8
  # So it is where the folder is opened to save more.
  (tmp_path / '4/metrics/metrics').write_text('{"loss": ')
  with pytest.raises(ValueError, match='4 is damaged'):
    Checkpoints(tmp_path)
  assert capfd.readouterr().err == ''


def test_a_foreign_folder_is_neither_read_nor_overwritten(tmp_path):
  (tmp_path / '100').mkdir()
  (tmp_path / '100' / 'notes.txt').write_text('mine')
  with pytest.raises(ValueError, match='100 is damaged, or no checkpoint of'):
    with Checkpoints(tmp_path):
      restore(tmp_path, make_state(0))
  assert (tmp_path / '100' / 'notes.txt').read_text() == 'mine'


def test_a_half_written_checkpoint_is_ignored(tmp_path):
  save(tmp_path, 3)
  half = tmp_path / '4.orbax-checkpoint-tmp'
  shutil.copytree(tmp_path / '3', half)
  for path in half.rglob('*'):
    if path.is_file():
      path.write_bytes(path.read_bytes()[:9])
  assert saved_steps(tmp_path) == [3]
  assert_identical(restore(tmp_path, make_state(0)), make_state(3))
  save(tmp_path, 4)
  assert_identical(restore(tmp_path, make_state(0)), make_state(4))
  assert sorted(p.name for p in tmp_path.iterdir()) == ['3', '4']


def test_another_model_is_named_in_one_line(tmp_path):
  save(tmp_path, 3)
  with pytest.raises(
    ValueError,
    match=r': encoder/bias is float32\[5\] there and float32\[6\] here',
  ) as error:
    restore_params(tmp_path, make_state(0, width=6).params)
  assert 'here (and 1 more);' in str(error.value)
  with pytest.raises(ValueError, match='is float32.* there and absent here'):
    restore(tmp_path, make_state(0, ema=False))
  wide = make_state(0)._replace(step=jnp.zeros((), jnp.uint32))
  with pytest.raises(ValueError, match=r'step is int32\[\] there and uint32'):
    restore(tmp_path, wide)


def test_errors_say_what_there_is(tmp_path):
  with pytest.raises(ValueError, match='does not exist: no checkpoint'):
    resolve(tmp_path / 'none', 'latest')
  with pytest.raises(ValueError, match='keep=0'):
    Checkpoints(tmp_path, keep=0)
  with pytest.raises(ValueError, match='holds no checkpoint'):
    resolve(tmp_path, 'latest')
  save(tmp_path, 3)
  with pytest.raises(ValueError, match=r'no checkpoint 5; choose one of \[3'):
    resolve(tmp_path, 5)
  # Without a validation loss the latest is the best.
  assert resolve(tmp_path, 'best') == resolve(tmp_path, '3') == 3


SAVER = """
import pathlib, sys
import jax.numpy as jnp
from cgqn_jax.training.checkpoints import Checkpoints, saved_steps
from cgqn_jax.training.update import TrainState

folder = pathlib.Path(sys.argv[1])
checkpoints = Checkpoints(folder, keep=2)
step = max(saved_steps(folder), default=0)
while True:
  step += 1
  params = {f'{i}': jnp.full((200, 200), step, jnp.float32) for i in range(9)}
  checkpoints.save(TrainState(jnp.int32(step), params, (), None))
"""


@pytest.mark.parametrize('kills', [1, pytest.param(8, marks=pytest.mark.slow)])
def test_a_killed_save_leaves_only_whole_checkpoints(tmp_path, kills):
  root = pathlib.Path(__file__).parents[2]
  environment = os.environ | {'PYTHONPATH': str(root)}
  first = 0
  for kill in range(kills):
    process = subprocess.Popen(
      [sys.executable, '-c', SAVER, str(tmp_path)], env=environment
    )
    try:
      while max(saved_steps(tmp_path), default=0) < first + 2:
        assert process.poll() is None
        time.sleep(0.01)
      time.sleep(0.013 * kill)
    finally:
      process.kill()
      process.wait()
    params = {f'{i}': jnp.zeros((200, 200)) for i in range(9)}
    template = TrainState(jnp.int32(0), params, (), None)
    assert max(saved_steps(tmp_path)) >= first + 2
    for step in saved_steps(tmp_path):
      state = restore(tmp_path, template, step)
      assert int(state.step) == step
      assert all((p == step).all() for p in state.params.values())
    first = step


def test_the_only_checkpoint_is_never_to_be_deleted(tmp_path):
  save(tmp_path, 4)
  path = tmp_path / '4' / 'default' / 'manifest.ocdbt'
  path.write_bytes(path.read_bytes()[:9])
  with pytest.raises(ValueError) as error:
    restore(tmp_path, make_state(0))
  text = str(error.value)
  assert '4 is damaged' in text and 'so keep it' in text
  assert 'delete' not in text and 'move' not in text and '\n' not in text


@pytest.mark.parametrize('name', ['run[1]', 'a*b', 'what?', 'a\\b'])
def test_a_name_that_is_read_as_a_pattern_is_refused(tmp_path, name):
  with pytest.raises(ValueError, match='in its name, which checkpoints cannot'):
    Checkpoints(tmp_path / name / 'checkpoints')
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', ['ü ö', "it's", 'a#b%20', '~', '100 %', '-x'])
def test_other_odd_names_work(tmp_path, name):
  save(tmp_path / name, 3)
  assert_identical(restore(tmp_path / name, make_state(0)), make_state(3))


def test_the_first_save_is_read_back(tmp_path, monkeypatch):
  """All its numbers: what lost one is no checkpoint, and not left there."""
  write = ocp.CheckpointManager.save

  def lossy(self, step, *, args, **options):
    args.item.params['encoder']['bias'][0] += 1
    return write(self, step, args=args, **options)

  save(tmp_path, 3)
  monkeypatch.setattr(ocp.CheckpointManager, 'save', lossy)
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(ValueError, match='does not give back what was saved'):
      checkpoints.save(make_state(4))
    assert saved_steps(tmp_path) == [3]


def test_a_loss_may_come_after_the_save(tmp_path):
  with Checkpoints(tmp_path, keep=1) as checkpoints:
    for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0), (4, None)):
      checkpoints.save(make_state(step))
      if loss:
        checkpoints.note_loss(step, loss)
  assert saved_steps(tmp_path) == [2, 4]
  assert resolve(tmp_path, 'best') == 2
  assert_identical(restore(tmp_path, make_state(0), 2), make_state(2))
