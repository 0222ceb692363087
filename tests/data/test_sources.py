"""Sources: a prepared dataset and a simulator, of narratives and of dice."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import chex
import jax
from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import sources
from cgqn_jax.data.sources import open_source
from cgqn_jax.simulators import dice
from cgqn_jax.types import Batch
from configs import dice as dice_config

ROOT = pathlib.Path(__file__).parents[2]
NAME = 'color_reaction_32_tiny'
DICE = 'default_32_tiny'


def build(data_dir: pathlib.Path, dataset: str, name: str) -> pathlib.Path:
  """Builds a dataset as a user does."""
  command = ['datasets/build.py', dataset, f'--config={name}', '--workers=1']
  done = subprocess.run(
    [sys.executable, *command, f'--data_dir={data_dir}'],
    # XLA_FLAGS: unlike in the tests themselves, there is much to compute.
    env=os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''},
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return data_dir


@pytest.fixture(scope='module')
def prepared(tmp_path_factory) -> pathlib.Path:
  """A data folder with one tiny dataset."""
  return build(tmp_path_factory.mktemp('prepared'), 'narratives', NAME)


@pytest.fixture(scope='module')
def prepared_dice(tmp_path_factory) -> pathlib.Path:
  return build(tmp_path_factory.mktemp('dice'), 'dice', DICE)


@pytest.fixture
def config(make_config) -> ConfigDict:
  config = make_config('narrative=color_reaction')
  config.data.update(frame_size=32, min_context=1, max_context=2)
  return config


def error_of(config: ConfigDict, split: str = 'train') -> str:
  with pytest.raises(ValueError) as error:
    sources.open_source(config, split)
  assert '\n' not in str(error.value)
  return str(error.value)


def batches_of(config: ConfigDict) -> list[Batch]:
  """A batch of training, of the tables and of validation."""
  train, test, validation = (
    open_source(config, split) for split in ('train', 'test', 'validation')
  )
  batches = [
    batches_lib.training_batches(config, train, 2),
    batches_lib.test_batches(config, test, 6, 6),
    batches_lib.validation_batches(config, validation, 6, 6),
  ]
  return jax.device_get(list(map(next, batches)))


def test_prepared_and_simulated_pixels_are_the_same(config, prepared):
  """But for a rounding in one of 10,000 values."""
  config.data.data_dir = str(prepared)
  config.data.source = 'tfds'
  stored = batches_of(config)
  config.data.source = 'simulator'
  for one, other in zip(stored, batches_of(config), strict=True):
    for scene in 'context', 'target':
      a, b = getattr(one, scene), getattr(other, scene)
      difference = np.abs(a.frames.astype(int) - b.frames)
      assert difference.max() <= 1 and np.mean(difference > 0) <= 1e-4
      np.testing.assert_array_equal(a.views, b.views)
    np.testing.assert_array_equal(one.example_id, other.example_id)
    np.testing.assert_array_equal(one.context_mask, other.context_mask)


def test_a_dataset_that_is_not_built(config, tmp_path):
  config.data.update(source='tfds', data_dir=str(tmp_path))
  assert sources.dataset_path(config) is None
  message = error_of(config)
  assert f'dataset narratives/{NAME} is not built' in message
  command = f'python datasets/build.py narratives --config={NAME}'
  assert message.endswith(f'{command} --data_dir={tmp_path}')
  config.data.data_dir = ''
  assert error_of(config).endswith(command)


def test_the_newest_version_is_read(config, tmp_path):
  config.data.data_dir = str(tmp_path)
  for version in '1.9.0', '1.10.0', '1.2.0', 'incomplete.1.11.0':
    (tmp_path / 'narratives' / NAME / version).mkdir(parents=True)
  assert sources.dataset_path(config).name == '1.10.0'


@pytest.mark.parametrize('damage', ['truncated', 'missing', 'no info'])
def test_a_damaged_dataset(config, prepared, tmp_path, damage):
  shutil.copytree(prepared, tmp_path / 'copy')
  config.data.update(source='tfds', data_dir=str(tmp_path / 'copy'))
  folder = sources.dataset_path(config)
  (shard,) = folder.glob('*train*')
  if damage == 'truncated':
    os.truncate(shard, shard.stat().st_size // 2)
  elif damage == 'missing':
    shard.unlink()
  else:
    (folder / 'dataset_info.json').unlink()
  message = error_of(config)
  assert f'the train split of {folder} cannot be read' in message
  assert f'--config={NAME} --data_dir={tmp_path / "copy"}' in message
  assert message.endswith('--overwrite')


def test_a_record_with_flipped_bits(config, prepared, tmp_path):
  """It opens, and the scene is named when it is read."""
  shutil.copytree(prepared, tmp_path / 'copy')
  config.data.update(source='tfds', data_dir=str(tmp_path / 'copy'))
  (shard,) = sources.dataset_path(config).glob('*train*')
  source = sources.open_source(config, 'train')
  data = bytearray(shard.read_bytes())
  for place in range(len(data) // 4, len(data) // 2, 50):
    data[place] ^= 16
  shard.write_bytes(data)
  message = None
  for index in range(len(source)):
    try:
      _ = source[index]
    except ValueError as error:
      message = str(error)
  assert f'of the train split of {shard.parent} cannot be read' in message
  assert message.startswith('scene ') and message.endswith('--overwrite')
  assert '\n' not in message


def test_a_dataset_with_other_frames(config, prepared):
  config.data.update(source='tfds', data_dir=str(prepared), num_frames=11)
  message = error_of(config)
  assert 'a video is [12, 32, 32, 3]' in message
  assert '[11, 32, 32, 3]' in message


def test_simulator_errors(config):
  config.data.config = 'chess'
  message = error_of(config)
  assert "data.config is 'chess'" in message and 'color_reaction' in message
  config.data.update(config='color_reaction', num_frames=21)
  assert 'a video is [12, 32, 32, 3]' in error_of(config)


@pytest.fixture
def dice_32() -> ConfigDict:
  """Tiny dice of 32x32, simulated."""
  config = dice_config.get_config('preset=smoke')
  config.data.source = 'simulator'
  return config


def test_prepared_and_simulated_dice_are_the_same(dice_32, prepared_dice):
  """And of a simulated room, the views that are picked and no others."""
  picked = [4, 19, 0]
  rooms, frames = [], []
  dice_32.data.data_dir = str(prepared_dice)
  for name in 'tfds', 'simulator':
    dice_32.data.source = name
    source = sources.open_source(dice_32, 'test')
    rooms.append([source[i] for i in (0, 5)])
    shown = np.stack([room.shown[picked] for room in rooms[-1]])
    fixed = [room.fixed for room in rooms[-1]]
    fixed = jax.tree.map(lambda *x: np.stack(x), *fixed)
    frames.append(np.asarray(source.to_frames(shown, fixed)).astype(int))
  stored, drawn = frames
  assert stored.shape == (2, 3, 32, 32, 3)
  difference = np.abs(stored - drawn)
  assert difference.max() <= 4 and np.mean(difference > 0) <= 1e-4
  for one, other in zip(*rooms, strict=True):
    chex.assert_trees_all_equal(one[2:], other[2:])
    assert one.views.shape == (20, 7) and one.views.dtype == np.float32
    assert one.face_pixels.shape == (20, 6) and one.face_pixels.max() > 100
    assert one.face_pixels.dtype == np.uint16
  assert [room.example_id for room in rooms[0]] == [0, 5]


@pytest.mark.parametrize('size', [32, 64])
@pytest.mark.parametrize('name', ['default', 's2', 'calm'])
def test_simulated_dice_have_the_rays_of_the_stored_ones(
  dice_32, monkeypatch, name, size
):
  """The counts of what faces fill depend on it."""
  asked = []

  def face_pixels(room, frame_size, samples):
    asked.append((frame_size, samples))
    return np.zeros((20, 6), np.uint16)

  monkeypatch.setattr(dice, 'face_pixels', face_pixels)
  dice_32.data.update(config=name, frame_size=size)
  sources.open_source(dice_32, 'train')
  assert set(asked) == {(size, 2 if size == 32 or name == 's2' else 4)}


def test_videos_have_no_faces(config):
  config.data.source = 'simulator'
  assert sources.open_source(config, 'train')[0].face_pixels is None


def test_dice_errors(dice_32, prepared_dice):
  dice_32.data.config = 'mnist_train'
  message = error_of(dice_32)
  assert "data.config is 'mnist_train'" in message
  assert message.endswith('the simulated dice are default, s2, calm')
  dice_32.data.update(config='default', num_frames=12)
  assert 'a video is [20, 32, 32, 3]' in error_of(dice_32)
  dice_32.data.update(num_frames=20, view_size=1)
  assert 'views are [20, 7]' in error_of(dice_32)
  dice_32.data.update(source='tfds', data_dir=str(prepared_dice))
  assert 'views are [20, 7]' in error_of(dice_32)
  dice_32.data.source = 'simulator'
  dice_32.dataset = 'rooms'
  message = error_of(dice_32)
  assert "dataset 'rooms' has none" in message
  assert message.endswith('narratives, dice')


def test_where_data_lies_is_absolute(config, tmp_path, monkeypatch):
  """And elsewhere, where asked: of files alone."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  config.data.update(path='mine', data_dir='~/tfds')
  sources.make_absolute(config)
  assert config.data.path == str(tmp_path / 'mine')
  assert config.data.data_dir == str(tmp_path / 'home' / 'tfds')
  sources.look_elsewhere(config, None, None)
  assert config.data.path == str(tmp_path / 'mine')
  sources.look_elsewhere(config, 'folder', '../other')
  assert config.data.source == 'folder'
  assert config.data.path == str(tmp_path.parent / 'other')
  sources.look_elsewhere(config, 'tfds', 'stored')
  assert config.data.data_dir == str(tmp_path / 'stored')
  assert config.data.path == str(tmp_path.parent / 'other')
  with pytest.raises(ValueError, match="'simulator', which reads no files"):
    sources.look_elsewhere(config, 'simulator', 'x')
  config.data.update(path='', data_dir='')
  sources.make_absolute(config)
  assert config.data.path == config.data.data_dir == ''


@pytest.mark.parametrize('tiny', [False, True])
def test_a_build_is_announced_before_it_begins(
  config, tmp_path, monkeypatch, capsys, tiny
):
  """With what it is, and for a long one what to do instead."""
  started = []

  class Process:
    def __init__(self, command, **_):
      started.append((command, capsys.readouterr().out))

    def __enter__(self):
      return self

    def __exit__(self, *_):
      pass

    def wait(self):
      return 0

  monkeypatch.setattr(sources.subprocess, 'Popen', Process)
  config.data.update(source='tfds', tiny=tiny, data_dir=str(tmp_path / 'a b'))
  sources.build_missing(config)
  ((command, said),) = started
  assert command[2:] == shlex.split(said.splitlines()[0].split('build.py')[1])
  assert 'narratives/color_reaction_32' in said and 'once' in said
  remedies = ('more cores', 'same command continues', 'data.source=simulator')
  assert all((remedy in said) != tiny for remedy in remedies)
