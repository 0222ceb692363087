"""Models by name: their sizes, and configs that make none."""

import jax
import numpy as np
import pytest

from cgqn_jax.data import protocols
from cgqn_jax.models.build import SEQUENTIAL, build
from cgqn_jax.models.residual import ResidualNetworks
from cgqn_jax.training.workdir import WEIGHTS, find, load
from cgqn_jax.types import Choices
from configs import dice, narratives


@pytest.mark.parametrize(
  ('config', 'fields', 'count'),
  [
    (narratives, {}, 3_963_815),
    (narratives, {'posterior_sees_prior': False}, 3_554_215),
    (narratives, {'z_per_step': True}, 3_906_215),
    (narratives, {'nf_to_hidden': 96, 'nf_enc': 192, 'nf_to_obs': 192,
                  'nf_dec': 96}, 8_752_391),
    (dice, {}, 12_107_175),
  ],
)  # fmt: skip
def test_number_of_parameters(config, fields, count):
  config = config.get_config()
  config.model.update(fields)
  assert size(config) == count
  assert config.optimizer.clip_norm == 10.0


@pytest.mark.parametrize(
  ('config', 'count'),
  [
    (narratives.get_config('model=gqn'), 3_963_815 + 12_800),
    (dice.get_config('model=gqn'), 12_107_175 + 179_200),
    (narratives.get_config('size=S'), 1_051_207),
  ],
)
def test_number_of_parameters_of_configs(config, count):
  assert size(config) == count


@pytest.mark.parametrize(
  ('arg', 'family'),
  [
    ('', 'draw'),
    ('preset=smoke', 'draw'),
    ('preset=small', 'residual'),
    ('preset=small,model=gqn', 'residual'),
    ('preset=small,networks=draw', 'draw'),
    ('preset=small,size=S', 'draw'),
    ('model=gqn,networks=residual', 'residual'),
    ('preset=accelerator', 'residual'),
    ('preset=small,model=sv2p', None),
  ],
)
def test_networks_of_a_config(arg, family):
  config = narratives.get_config(arg)
  assert config.model.get('networks') == family
  assert config.optimizer.name == ('muon' if family == 'residual' else 'adam')
  networks = build(config).networks
  assert isinstance(networks, ResidualNetworks) == (family == 'residual')


@pytest.mark.parametrize('of', ['size=S', 'model=sv2p'])
def test_other_models_and_sizes_are_not_residual(of):
  message = 'the residual networks, .* are of model=cgqn and gqn, and have no'
  for residual in ('networks=residual', 'preset=accelerator'):
    with pytest.raises(ValueError, match=message) as error:
      narratives.get_config(f'{residual},{of}')
    assert '\n' not in str(error.value)


def test_choices_are_of_residual_networks():
  config = narratives.get_config('preset=small,latent=choices')
  assert isinstance(build(config).networks.latent_shape, Choices)
  for other in ('', 'networks=draw,', 'size=S,', 'model=sv2p,'):
    with pytest.raises(ValueError, match='latent=choices is of the') as error:
      narratives.get_config(f'{other}latent=choices')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', SEQUENTIAL)
def test_sequential_models_want_sequences(name):
  config = narratives.get_config(f'preset=smoke,model={name}')
  protocols.check(config)
  assert config.data.test_context == (0, 1, 2, 3, 4, 5)
  assert config.data.num_targets == 15
  assert config.optimizer.clip_norm == 1.0
  config.data.protocol = 'frames'
  with pytest.raises(ValueError, match=f'{name} reads .* cgqn or gqn'):
    build(config)


def size(config):
  model = build(config)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  return sum(x.size for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'model.name': 'gan'}, "model.name is 'gan'.* cgqn, gqn"),
    ({'model.latent_sees_query': True}, 'latent_sees_query is on'),
    ({'data.frame_size': 30}, 'data.frame_size is 30.* multiple of 8'),
    ({'model.stride_to_obs': 3}, 'model.stride_to_obs is 3'),
  ],
)
def test_errors_of_a_config(make_config, change, message):
  config = make_config()
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message):
    build(config)


def test_shipped_weights_are_found_by_name(tmp_path, monkeypatch):
  name = 'traveling_salesman'
  assert find(name) == WEIGHTS / name
  model, params, config = load(name)
  assert config.data.config == name and config.model.name == 'cgqn'
  expected = jax.eval_shape(model.init, jax.random.key(0))
  assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, expected)
  # A folder of that name in the current one goes first.
  monkeypatch.chdir(tmp_path)
  (tmp_path / name).mkdir()
  (tmp_path / name / 'config.json').write_text('{}')
  assert find(name).resolve() == tmp_path / name
  with pytest.raises(ValueError, match='weights are .*traveling_salesman'):
    find('nowhere')
