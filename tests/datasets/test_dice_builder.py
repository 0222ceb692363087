"""The dice as a TFDS dataset: the same by every way to build them."""

import pathlib

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_metadata

from cgqn_jax.simulators import dice
from tests.datasets import builds

_TINY = {'train': 64, 'validation': 16, 'test': 16}
_FIELDS = {
  'frames': (np.uint8, (20, 32, 32, 3)),
  'cameras': (np.float32, (20, 7)),
  'face_pixels': (np.uint16, (20, 6)),
  'digit_index': (np.int32, (6,)),
  'digit_class': (np.int32, (6,)),
  'cube': (np.float32, (3,)),
  'light': (np.float32, (3,)),
  'colors': (np.float32, (6, 3)),
  'texture': (np.int32, (2, 2)),
  'example_id': (np.int64, ()),
}
_IMAGES, _LABELS = 'train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'
_URL = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
_XLA = ''  # LLVM's optimisations, unlike the tests: many rays have to be cast
_STOCK = """
import sys
from dice.dice_dataset_builder import Builder
Builder(config='default_32_tiny', data_dir=sys.argv[1]).download_and_prepare()
"""

with tfds.core.utils.add_sys_path(builds.DATASETS):
  Builder = tfds.core.community.builder_cls_from_module(
    'dice.dice_dataset_builder'
  )


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """default_32_tiny, as build.py builds it."""
  data_dir = tmp_path_factory.mktemp('data')
  script, config = builds.DATASETS / 'build.py', '--config=default_32_tiny'
  done = builds.run(
    script,
    'dice',
    config,
    '--workers=1',
    f'--data_dir={data_dir}',
    xla_flags=_XLA,
  )
  assert done.returncode == 0, done.stderr
  assert '96 examples to make' in done.stdout
  return data_dir / 'dice' / 'default_32_tiny' / '1.0.0'


def test_built_examples_are_the_simulator_s(built: pathlib.Path):
  for split, count in _TINY.items():
    rows = builds.rows(built, split)
    assert [int(row['example_id']) for row in rows] == list(range(count))
    rows = rows[:: count // 4]
    ids = [int(row['example_id']) for row in rows]
    rooms = dice.sample_batch(split, ids)
    views = dice.Views(*map(np.asarray, dice.render_batch(rooms, 32, 2)))
    for i, row in enumerate(rows):
      for name in 'cameras', 'cube', 'light', 'colors', 'texture':
        np.testing.assert_array_equal(row[name], getattr(rooms, name)[i])
      np.testing.assert_array_equal(row['digit_index'], rooms.digits[i])
      np.testing.assert_array_equal(row['digit_class'], rooms.digits[i] // 10)
      assert row['face_pixels'].dtype == views.face_pixels.dtype
      rays = row['face_pixels'].astype(int) - views.face_pixels[i]
      assert np.abs(rays).max() <= 1 and (rays != 0).mean() <= 0.01
      difference = np.abs(row['frames'].astype(int) - views.frames[i])
      assert (difference > 1).mean() <= 1e-4, difference.max()
  assert not np.array_equal(
    builds.rows(built, 'test')[0]['frames'],
    builds.rows(built, 'train')[0]['frames'],
  )


def test_features(built: pathlib.Path):
  row = builds.rows(built, 'validation')[5]
  found = {name: np.asarray(value) for name, value in row.items()}
  found = {name: (value.dtype, value.shape) for name, value in found.items()}
  assert found == _FIELDS
  # At 54 degrees the cube is 13 to 21 of 32 pixels wide, and a view shows its
  # top, one or two sides and never the bottom.
  faces = row['face_pixels']
  assert (faces[:, 4] > 10).all() and (faces[:, 5] == 0).all()
  assert set((faces[:, :4] > 0).sum(1)) <= {1, 2}


def test_tfds_builds_the_same(built: pathlib.Path, tmp_path: pathlib.Path):
  done = builds.run('-c', _STOCK, tmp_path, xla_flags=_XLA)
  assert done.returncode == 0, done.stderr
  theirs = tmp_path / 'dice' / 'default_32_tiny' / '1.0.0'
  builds.assert_same(built, theirs, _TINY)


def test_the_estimated_size_is_about_right(built: pathlib.Path):
  info = tfds.builder_from_directory(built).info
  estimate = Builder.builder_configs[info.config_name].bytes_per_example
  measured = info.splits['train'].num_bytes / 64
  assert 0.8 < measured / estimate < 1.25


def test_configs(tmp_path: pathlib.Path):
  names = ('default', 'default_32', 'calm', 'calm_32', 's2', 'mnist_train')
  assert list(Builder.builder_configs) == [
    f'{name}{tiny}' for name in names for tiny in ('', '_tiny')
  ]
  for name, config in Builder.builder_configs.items():
    assert config.frame_size == (32 if '32' in name else 64)
    coarse = '32' in name or 's2' in name
    assert config.supersampling == (2 if coarse else 4)
    train = 20_000 if '32' in name else 98_000
    full = {'train': train, 'validation': 1_000, 'test': 1_000}
    splits = _TINY if 'tiny' in name else full
    shards = Builder(config=name, data_dir=tmp_path).shards()
    assert shards.keys() == splits.keys()
    for split, ranges in shards.items():
      assert max(map(len, ranges)) <= 500  # 125 MB
      ids = [example_id for ids in ranges for example_id in ids]
      assert ids == list(range(splits[split]))
  assert not list(tmp_path.iterdir())  # nor is anything downloaded


def test_preview_draws_a_picture(tmp_path: pathlib.Path):
  path = tmp_path / 'new' / 'sheet.png'
  Builder(config='default_32_tiny', data_dir=tmp_path).preview(path)
  picture = np.asarray(Image.open(path))
  assert picture.shape[0] >= 4 * 32 and picture.shape[1] >= 4 * 32
  assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 1000


def test_metadata():
  metadata = Builder.get_metadata()
  assert 'Consistent Generative Query Networks' in metadata.citation
  assert 'LeCun' in metadata.citation and 'CC BY-SA' in metadata.description
  assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
  for name in _FIELDS:
    assert f'`{name}`' in metadata.description
  files = {
    url.removeprefix(_URL): (int(info.size), info.checksum[:8])
    for url, info in Builder.url_infos.items()
  }
  assert files == {
    _IMAGES: (9_912_422, '440fcabf'),
    _LABELS: (28_881, '3552534a'),
  }
