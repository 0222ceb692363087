"""Sources: a prepared dataset, a simulator and a folder of one's own."""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import jax
from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import pytest

from cgqn_jax import data, sources

ROOT = pathlib.Path(__file__).parents[1]
NAME = 'color_reaction_32_tiny'


@pytest.fixture(scope='module')
def prepared(tmp_path_factory) -> pathlib.Path:
  """A data folder with one tiny dataset, as its builder makes it."""
  data_dir = tmp_path_factory.mktemp('prepared')
  command = ['datasets/build.py', 'narratives', f'--config={NAME}']
  done = subprocess.run(
    [sys.executable, *command, f'--data_dir={data_dir}'],
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return data_dir


@pytest.fixture
def config(make_config) -> ConfigDict:
  config = make_config('narrative=color_reaction')
  config.data.update(frame_size=32, min_context=1, max_context=2)
  return config


@pytest.fixture
def folder(tmp_path, make_config) -> ConfigDict:
  """The config of three videos of 5 frames: two of PNGs and an NPZ."""
  config = make_config()
  config.data.update(
    source='folder', path=str(tmp_path), num_frames=5, num_targets=2,
    min_context=1, max_context=3, context_window=5, test_context=(0, 4),
  )  # fmt: skip
  frames = np.random.default_rng(0).integers(0, 256, (3, 6, 16, 16, 3))
  frames = frames.astype(np.uint8)
  for split in sources.SPLITS:
    for name, video in zip(('a', 'b'), frames[:2], strict=True):
      images = tmp_path / split / name
      images.mkdir(parents=True)
      for n, frame in enumerate(video):
        Image.fromarray(frame).save(images / f'{n:03}.png')
    np.savez(tmp_path / split / 'c.npz', frames=frames[2])
  (tmp_path / 'train' / 'readme.txt').write_text('no video')
  return config


def error_of(config: ConfigDict, split: str = 'train') -> str:
  with pytest.raises(ValueError) as error:
    sources.open_source(config, split)
  assert '\n' not in str(error.value)
  return str(error.value)


def test_prepared_and_simulated_pixels_are_the_same(config, prepared):
  """But for a rounding in one of 10,000 values."""
  batches = []
  for source in 'tfds', 'simulator':
    config.data.update(source=source, data_dir=str(prepared))
    batches.append(
      [
        next(data.training_batches(config, 2)),
        next(data.test_batches(config, 'test', 6, 6)),
        next(data.validation_batches(config, 'validation', 6, 6)),
      ]
    )
  for one, other in zip(*jax.device_get(batches), strict=True):
    for scene in 'context', 'target':
      a, b = getattr(one, scene).frames, getattr(other, scene).frames
      difference = np.abs(a.astype(int) - b)
      assert a.std() > 20 and a.size > 1000
      assert difference.max() <= 1 and np.mean(difference > 0) <= 1e-4
      views = getattr(one, scene).views
      np.testing.assert_array_equal(views, getattr(other, scene).views)
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
  config.data.source = 'web'
  message = error_of(config)
  assert "data.source is 'web'" in message
  assert message.endswith('tfds, simulator, folder')


def test_a_folder_s_videos(folder):
  scenes = data.whole_scenes(folder, 'test', [0, 1, 2])
  random = np.random.default_rng(0)
  expected = random.integers(0, 256, (3, 6, 16, 16, 3))[:, :5]
  np.testing.assert_array_equal(scenes.frames, expected)
  np.testing.assert_allclose(scenes.views[2, :, 0], [0, 0.25, 0.5, 0.75, 1])
  batches = list(itertools.islice(data.training_batches(folder), 2))
  ids = np.concatenate([batch.example_id for batch in batches])
  assert set(ids.tolist()) == {0, 1, 2}
  for batch in batches:
    for b, example_id in enumerate(batch.example_id):
      index = np.round(batch.target.views[b, :, 0] * 4).astype(int)
      np.testing.assert_array_equal(
        batch.target.frames[b], expected[example_id, index]
      )
  batch = next(data.test_batches(folder, 'test', 3, 3))
  np.testing.assert_array_equal(batch.target.frames, expected[:, 1:4])


def test_views_of_one_s_own(folder, tmp_path):
  video = np.zeros((5, 16, 16, 3), np.uint8)
  views = np.float64([[0], [0.1], [0.4], [0.9], [1]])
  np.savez(tmp_path / 'test' / 'd.npz', frames=video, views=views)
  scenes = data.whole_scenes(folder, 'test', [3])
  np.testing.assert_allclose(scenes.views[0], views)
  assert scenes.views.dtype == np.float32


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({'video': np.zeros((5, 16, 16, 3), np.uint8)}, 'no array called frames'),
    ({'frames': np.zeros((5, 16, 16, 3))}, 'float64.*must be uint8'),
    ({'frames': np.zeros((5, 9, 16, 3), np.uint8)}, r'a video is \[5, 9, 16'),
    ({'frames': np.zeros((4, 16, 16, 3), np.uint8)}, r'a video is \[4, 16'),
    (
      {
        'frames': np.zeros((5, 16, 16, 3), np.uint8),
        'views': np.zeros((3, 1)),
      },
      r'views \[3, 1\]; .* views \[5, 1\]',
    ),
    (
      {
        'frames': np.zeros((5, 16, 16, 3), np.uint8),
        'views': np.zeros((5, 7)),
      },
      r'views \[5, 7\]; .* views \[5, 1\] .*data.view_size',
    ),
  ],
)
def test_videos_that_do_not_fit(folder, tmp_path, arrays, message):
  """The first video is read when the folder is opened."""
  path = tmp_path / 'train' / '_first.npz'
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=message) as error:
    sources.open_source(folder, 'train')
  assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_folders_without_videos(folder, tmp_path):
  (tmp_path / 'train' / '_none').mkdir()
  assert '_none: a video is [0]' in error_of(folder)
  shutil.rmtree(tmp_path / 'train')
  assert f'{tmp_path / "train"} is not a folder' in error_of(folder)
  (tmp_path / 'train').mkdir()
  assert 'holds no video' in error_of(folder)
  folder.data.path = ''
  assert "data.path is ''" in error_of(folder)
