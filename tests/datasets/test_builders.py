"""Narratives and dice as TFDS datasets: the same by every way to build them."""

import pathlib

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_metadata

from cgqn_jax.simulators import dice, narratives
from tests.datasets import builds

BUILDERS = {'narratives': builds.Narratives, 'dice': builds.Dice}
# What the tests build, and how many examples each split has.
CONFIGS = {'narratives': 'color_reaction_32_tiny', 'dice': 'default_32_tiny'}
TINY = {
  'narratives': {'train': 256, 'validation': 32, 'test': 32},
  'dice': {'train': 64, 'validation': 16, 'test': 16},
}
XLA = ''  # LLVM's optimisations, unlike the tests: many rays have to be cast
# What `tfds build` does, but for the imports that need TensorFlow.
STOCK = """
import sys
import tensorflow_datasets as tfds
from tensorflow_datasets.scripts.cli import build, cli_utils
tfds.core.visibility.set_availables(list(tfds.core.visibility.DatasetType))
cli_utils.make_flags_parser(build.Args, description='')(sys.argv).execute()
"""


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
  """A tiny config of each dataset, as build.py builds it."""
  data_dir = tmp_path_factory.mktemp('data')
  for name, config in CONFIGS.items():
    script = builds.DATASETS / 'build.py'
    flags = f'--config={config}', f'--data_dir={data_dir}', '--workers=1'
    done = builds.run(script, name, *flags, xla_flags=XLA)
    assert done.returncode == 0, done.stderr
    assert f'{sum(TINY[name].values())} examples to make' in done.stdout
  return {n: data_dir / n / c / '1.0.0' for n, c in CONFIGS.items()}


def rows_of(
  built: pathlib.Path, sizes: dict[str, int], split: str
) -> list[dict[str, np.ndarray]]:
  """Some examples of a split, whose ids are those of the simulator."""
  rows = builds.rows(built, split)
  ids = [int(row['example_id']) for row in rows]
  assert ids == list(range(sizes[split]))
  return rows[:: sizes[split] // 8]


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_built_narratives_are_the_simulator_s(built, split):
  for row in rows_of(built['narratives'], TINY['narratives'], split):
    story = narratives.sample('color_reaction', split, int(row['example_id']))
    for name in 'positions', 'kind', 'size', 'color', 'events':
      field = getattr(story, name)
      assert row[name].dtype == field.dtype
      np.testing.assert_array_equal(row[name], field)
    expected = narratives.render(story, 32)
    assert row['frames'].shape == expected.shape == (12, 32, 32, 3)
    difference = np.abs(row['frames'].astype(int) - expected)
    assert difference.max() <= 4 and (difference > 0).mean() <= 1e-4


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_built_dice_are_the_simulator_s(built, split):
  rows = rows_of(built['dice'], TINY['dice'], split)
  rooms = dice.sample_batch(split, [int(row['example_id']) for row in rows])
  views = dice.Views(*map(np.asarray, dice.render_batch(rooms, 32, 2)))
  for i, row in enumerate(rows):
    for name in 'cameras', 'cube', 'light', 'colors', 'texture':
      field = getattr(rooms, name)[i]
      assert row[name].dtype == field.dtype
      np.testing.assert_array_equal(row[name], field)
    np.testing.assert_array_equal(row['digit_index'], rooms.digits[i])
    np.testing.assert_array_equal(row['digit_class'], rooms.digits[i] // 10)
    faces = row['face_pixels']
    assert faces.dtype == np.uint16 and row['frames'].dtype == np.uint8
    rays = faces.astype(int) - views.face_pixels[i]
    assert np.abs(rays).max() <= 1 and (rays != 0).mean() <= 0.01
    # At 54 degrees a view shows the top, one or two sides, never the bottom.
    assert (faces[:, 4] > 10).all() and (faces[:, 5] == 0).all()
    assert set((faces[:, :4] > 0).sum(1)) <= {1, 2}
    difference = np.abs(row['frames'].astype(int) - views.frames[i])
    assert (difference > 1).mean() <= 1e-4, difference.max()


@pytest.mark.parametrize('name', BUILDERS)
def test_tfds_build_makes_the_same(built, tmp_path, name):
  flags = f'--config={CONFIGS[name]}', f'--data_dir={tmp_path}'
  folder, array_record = builds.DATASETS / name, '--file_format=array_record'
  done = builds.run('-c', STOCK, folder, array_record, *flags, xla_flags=XLA)
  assert done.returncode == 0, done.stderr
  theirs = tmp_path / name / CONFIGS[name] / '1.0.0'
  builds.assert_same(built[name], theirs, TINY[name])


@pytest.mark.parametrize(
  ('name', 'least', 'most'), [('narratives', 0.7, 1.4), ('dice', 0.8, 1.25)]
)
def test_the_estimated_size_is_about_right(built, name, least, most):
  info = tfds.builder_from_directory(built[name]).info
  config = BUILDERS[name].builder_configs[info.config_name]
  # Files have an overhead of a few kB, which matters in a tiny one only.
  measured = info.splits['train'].num_bytes / TINY[name]['train']
  assert least < measured / config.bytes_per_example < most


def test_configs():
  assert list(builds.Narratives.builder_configs) == [
    f'{name}{suffix}'
    for name in narratives.NARRATIVES
    for suffix in ('', '_tiny', '_32', '_32_tiny')
  ]
  names = ('default', 'default_32', 'calm', 'calm_32', 's2', 'mnist_train')
  assert list(builds.Dice.builder_configs) == [
    f'{name}{tiny}' for name in names for tiny in ('', '_tiny')
  ]
  for dataset, builder in BUILDERS.items():
    for name, config in builder.builder_configs.items():
      small = '_32' in name
      assert config.frame_size == (32 if small else 64)
      train = 20_000 if small and dataset == 'dice' else 98_000
      full = {'train': train, 'validation': 1_000, 'test': 1_000}
      assert config.num_examples == (TINY[dataset] if 'tiny' in name else full)
      if dataset == 'dice':
        coarse = small or 's2' in name
        assert config.supersampling == (2 if coarse else 4)
      else:
        assert config.narrative and name.startswith(config.narrative)
        assert 200 < config.bytes_per_example < 20_000
        assert 100 < config.examples_per_second < 10_000


@pytest.mark.parametrize(
  ('builder', 'config'),
  [
    (builds.Narratives, 'plinko'),
    (builds.Dice, 'mnist_train'),
    (builds.Dice, 'calm_32_tiny'),
  ],
)
def test_shards_hold_every_id_once(tmp_path, builder, config):
  builder = builder(config=config, data_dir=tmp_path)
  sizes = builder.builder_config.num_examples
  assert builder.shards().keys() == sizes.keys()
  for split, ranges in builder.shards().items():
    assert max(map(len, ranges)) <= 500  # of dice, 125 MB
    ids = [example_id for ids in ranges for example_id in ids]
    assert ids == list(range(sizes[split]))
  assert not list(tmp_path.iterdir())  # nor is anything downloaded


@pytest.mark.parametrize('name', narratives.NARRATIVES)
def test_features_hold_an_example(tmp_path, name):
  builder = builds.Narratives(config=f'{name}_32', data_dir=tmp_path)
  assert builder.info.file_format.value == 'array_record'
  (example,) = builder.examples('validation', [7])
  features = builder.info.features
  decoded = features.decode_example_np(features.encode_example(example))
  assert decoded.keys() == example.keys() and example['example_id'] == 7
  for field, value in decoded.items():
    assert np.asarray(value).dtype == example[field].dtype
    np.testing.assert_array_equal(value, example[field])
  num_frames = narratives.NARRATIVES[name].num_frames
  assert decoded['frames'].shape == (num_frames, 32, 32, 3)


@pytest.mark.parametrize(
  ('name', 'config', 'size', 'colors'),
  [
    ('narratives', 'dag_chase', (8 * 64, 11 * 64), 10),
    ('dice', 'default_32_tiny', (8 * 32, 12 * 32), 1000),
  ],
)
def test_preview_draws_a_picture(tmp_path, name, config, size, colors):
  path = tmp_path / 'new' / 'sheet.png'
  BUILDERS[name](config=config, data_dir=tmp_path).preview(path)
  picture = np.asarray(Image.open(path))
  assert picture.shape[0] >= size[0] and picture.shape[1] >= size[1]
  assert len(np.unique(picture.reshape(-1, 3), axis=0)) > colors


@pytest.mark.parametrize('name', BUILDERS)
def test_metadata(built, name):
  metadata = BUILDERS[name].get_metadata()
  assert 'Consistent Generative Query Networks' in metadata.citation
  assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
  words = list(builds.rows(built[name], 'test')[0])
  words += narratives.NARRATIVES if name == 'narratives' else []
  for word in words:
    assert f'`{word}`' in metadata.description


def test_whose_the_digits_are():
  metadata = builds.Dice.get_metadata()
  assert 'LeCun' in metadata.citation and 'CC BY-SA' in metadata.description
  files = {
    url.rpartition('/')[2]: (int(info.size), info.checksum[:8])
    for url, info in builds.Dice.url_infos.items()
  }
  assert files == {
    'train-images-idx3-ubyte.gz': (9_912_422, '440fcabf'),
    'train-labels-idx1-ubyte.gz': (28_881, '3552534a'),
  }
