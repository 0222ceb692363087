"""The narratives as TFDS datasets: the same by every way to build them."""

import pathlib

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_metadata

from cgqn_jax.simulators import narratives
from tests.datasets import builds

_TINY = {'train': 256, 'validation': 32, 'test': 32}
_FULL = {'train': 98_000, 'validation': 1_000, 'test': 1_000}
# What `tfds build` does, but for the imports that need TensorFlow.
_STOCK = """
import sys
import tensorflow_datasets as tfds
from tensorflow_datasets.scripts.cli import build, cli_utils
tfds.core.visibility.set_availables(list(tfds.core.visibility.DatasetType))
cli_utils.make_flags_parser(build.Args, description='')(sys.argv).execute()
"""

with tfds.core.utils.add_sys_path(builds.DATASETS):
  Builder = tfds.core.community.builder_cls_from_module(
    'narratives.narratives_dataset_builder'
  )


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """color_reaction_32_tiny, as build.py builds it."""
  data_dir = tmp_path_factory.mktemp('data')
  config = '--config=color_reaction_32_tiny'
  script = builds.DATASETS / 'build.py'
  done = builds.run(script, 'narratives', config, f'--data_dir={data_dir}')
  assert done.returncode == 0, done.stderr
  return data_dir / 'narratives' / 'color_reaction_32_tiny' / '1.0.0'


def test_built_examples_are_the_simulator_s(built: pathlib.Path):
  for split, count in _TINY.items():
    rows = builds.rows(built, split)
    assert [int(row['example_id']) for row in rows] == list(range(count))
    for row in rows[:: count // 8]:
      story = narratives.sample('color_reaction', split, int(row['example_id']))
      for name in 'positions', 'kind', 'size', 'color', 'events':
        np.testing.assert_array_equal(row[name], getattr(story, name))
      expected = narratives.render(story, 32)
      assert row['frames'].shape == expected.shape == (12, 32, 32, 3)
      difference = np.abs(row['frames'].astype(int) - expected)
      assert difference.max() <= 4 and (difference > 0).mean() <= 1e-4
  assert not np.array_equal(
    builds.rows(built, 'test')[0]['frames'],
    builds.rows(built, 'train')[0]['frames'],
  )


def test_tfds_build_makes_the_same(built: pathlib.Path, tmp_path: pathlib.Path):
  done = builds.run(
    '-c',
    _STOCK,
    builds.DATASETS / 'narratives',
    '--config=color_reaction_32_tiny',
    '--file_format=array_record',
    f'--data_dir={tmp_path}',
  )
  assert done.returncode == 0, done.stderr
  theirs = tmp_path / 'narratives' / 'color_reaction_32_tiny' / '1.0.0'
  builds.assert_same(built, theirs, _TINY)


def test_the_estimated_size_is_about_right(built: pathlib.Path):
  info = tfds.builder_from_directory(built).info
  estimate = Builder.builder_configs[info.config_name].bytes_per_example
  # Files have an overhead of a few kB, which matters in a tiny one only.
  measured = info.splits['train'].num_bytes / 256
  assert 0.7 < measured / estimate < 1.4


def test_configs():
  assert list(Builder.builder_configs) == [
    f'{name}{suffix}'
    for name in narratives.NARRATIVES
    for suffix in ('', '_tiny', '_32', '_32_tiny')
  ]
  for name, config in Builder.builder_configs.items():
    assert config.narrative in name
    assert config.frame_size == (32 if '_32' in name else 64)
    assert config.num_examples == (_TINY if 'tiny' in name else _FULL)
    assert 200 < config.bytes_per_example < 20_000
    assert 100 < config.examples_per_second < 10_000


@pytest.mark.parametrize('name', narratives.NARRATIVES)
def test_features_hold_an_example(name: str, tmp_path: pathlib.Path):
  builder = Builder(config=f'{name}_32', data_dir=tmp_path)
  assert builder.info.file_format.value == 'array_record'
  example = next(builder.examples('validation', [7]))
  features = builder.info.features
  decoded = features.decode_example_np(features.encode_example(example))
  num_frames = narratives.NARRATIVES[name].num_frames
  assert decoded['frames'].shape == (num_frames, 32, 32, 3)
  assert decoded['frames'].dtype == np.uint8 and decoded['frames'].max() > 80
  assert int(decoded['example_id']) == 7
  story = narratives.sample(name, 'validation', 7)
  for field in 'positions', 'kind', 'size', 'color', 'events':
    expected = getattr(story, field)
    assert decoded[field].dtype == expected.dtype
    np.testing.assert_array_equal(decoded[field], expected)


def test_shards_hold_every_id_once(tmp_path: pathlib.Path):
  builder = Builder(config='plinko', data_dir=tmp_path)
  shards = builder.shards()
  assert {s: sum(map(len, ranges)) for s, ranges in shards.items()} == _FULL
  for split, ranges in shards.items():
    assert max(map(len, ranges)) <= 500
    ids = [example_id for ids in ranges for example_id in ids]
    assert ids == list(range(_FULL[split]))


def test_preview_draws_a_picture(tmp_path: pathlib.Path):
  path = tmp_path / 'new' / 'sheet.png'
  Builder(config='dag_chase', data_dir=tmp_path).preview(path)
  picture = np.asarray(Image.open(path))
  assert picture.shape[0] >= 8 * 64 and picture.shape[1] >= 11 * 64
  assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 10


def test_metadata(tmp_path: pathlib.Path):
  metadata = Builder.get_metadata()
  assert 'Consistent Generative Query Networks' in metadata.citation
  assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
  for name in narratives.NARRATIVES:
    assert f'`{name}`' in metadata.description
