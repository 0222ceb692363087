"""configs/own.py: the settings that follow from a dataset.json."""

import pathlib

import jax
import pytest

from cgqn_jax import cli
from cgqn_jax.data.importing import DATASET, Dataset
from cgqn_jax.files import write_json
from cgqn_jax.models.build import build
from cgqn_jax.training import checkpoints, loop
from cgqn_jax.training.workdir import WEIGHTS

OWN = pathlib.Path(__file__).parents[1] / 'configs' / 'own.py'
VIDEOS = Dataset(
  'mine', 32, 19, 8, 1, {'train': 8, 'validation': 2, 'test': 2}, 'crop', 1,
  'hash',
)  # fmt: skip


def own(folder, dataset, arguments=''):
  write_json(folder / DATASET, dataset._asdict())
  return cli.load_config(f'{OWN}:{arguments}path={folder}')


def test_lengths_and_sizes_are_the_dataset_s(tmp_path):
  config = own(tmp_path, VIDEOS)
  data = config.data
  assert (data.source, data.path) == ('folder', str(tmp_path))
  assert (data.frame_size, data.num_frames, data.view_size) == (32, 19, 1)
  # The shortest has 8: two are seen, and six are left.
  assert data.test_context == (0, 1) and data.num_targets == 6
  assert config.model.networks == 'residual' and config.num_steps == 17_000


@pytest.mark.parametrize('shortest', [2, 3, 4, 30])
@pytest.mark.parametrize('view_size', [1, 7])
@pytest.mark.parametrize(
  'arguments',
  ['', 'networks=draw,', 'preset=smoke,', 'model=gqn,', 'latent=choices,'],
)
def test_any_lengths_do(tmp_path, shortest, view_size, arguments):
  dataset = VIDEOS._replace(
    shortest=shortest, num_frames=30, view_size=view_size, frame_size=16
  )
  config = own(tmp_path, dataset, arguments)
  loop.check(config)
  assert len(config.data.test_context) + config.data.num_targets <= shortest


def test_shipped_weights_fit(tmp_path):
  """All parameters of a model of own videos are taken, as the page says."""
  model = build(own(tmp_path, VIDEOS, 'latent=choices,'))
  template = jax.eval_shape(model.init, jax.random.key(0))
  names = {
    checkpoints.leaf_name(path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(template)
  }
  folder = WEIGHTS / 'traveling_salesman' / 'checkpoints'
  step = checkpoints.resolve(folder, 'best')
  there = checkpoints.by_name(checkpoints.read_params(folder, step))
  assert {name: leaf.shape for name, leaf in there.items()} == names


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'give the folder of your scenes'),
    ('preset=small', 'give the folder of your scenes'),
    ('path=none', 'none has no dataset.json; python experiments/import_data'),
    ('preset=paper,path=none', "preset is 'paper'"),
    ('pfad=none', "no argument 'pfad'"),
  ],
)
def test_what_is_no_dataset(text, message):
  with pytest.raises(ValueError, match=message):
    cli.load_config(f'{OWN}:{text}')
