"""Version 0.1 in numbers: its networks, its checkpoint, its recorded runs.

Whatever is moved or added, these configs must go on to mean what they meant;
a config.json without `model.networks` is one of the paper's networks.
"""

import json

import jax
import numpy as np
import pytest

import cgqn_jax
from cgqn_jax import cli
from cgqn_jax.comparison import runs
from cgqn_jax.config import upgraded
from cgqn_jax.models.build import build
from configs import comparison, narratives
from tests import golden_numbers

GOLDEN = golden_numbers.read('golden.json')
PRESETS = golden_numbers.read('presets.json')
PARAMETERS = golden_numbers.read('parameters.json')
RECORDED = sorted(
  path.stem for path in (golden_numbers.FIXTURES / 'configs').glob('*.json')
)
# Those that take seconds to compile; the others, at the paper's size or near
# it, are for `make test-slow`, and fresh parameters too.
FAST = (
  'narratives-smoke-cgqn',
  'narratives-smoke-sssm',
  'narratives-smoke-sv2p',
  'narratives-smoke-cdna',
  'narratives-small-cgqn',
  'dice-small-gqn',
)
COUNTED = {}


def check(found, name):
  """Compares what was found with what is kept of a case."""
  for key, value in found.items():
    # A pixel near black is the difference of numbers that are not small.
    np.testing.assert_allclose(
      value, GOLDEN[name][key], rtol=1e-5, atol=1e-5, err_msg=f'{name}: {key}'
    )


@pytest.mark.parametrize('name', FAST)
def test_networks_compute_what_they_did(name):
  config = golden_numbers.make_config(PRESETS[name])
  model = build(config)
  params = golden_numbers.make_params(model)
  check(golden_numbers.numbers(model, params, config), name)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(GOLDEN) & set(PRESETS)))
def test_networks_start_and_compute_as_they_did(name):
  check(golden_numbers.case(name), name)


def test_the_shipped_checkpoint_draws_what_it_did():
  path = golden_numbers.FIXTURES / golden_numbers.SHIPPED
  model, params, config = cgqn_jax.load(path)
  check({'norm': golden_numbers.norm(params)}, golden_numbers.SHIPPED)
  found = golden_numbers.numbers(model, params, config)
  check(found, golden_numbers.SHIPPED)


@pytest.mark.parametrize('name', RECORDED)
def test_recorded_runs_make_models(name):
  fields = golden_numbers.read(f'configs/{name}.json')
  if fields['model'].get('view_frequencies'):
    return  # refused, see test_a_switch_that_is_gone_is_named
  assert size(fields) == PARAMETERS[name]


@pytest.mark.slow
@pytest.mark.parametrize('name', PRESETS)
def test_presets_make_models(name):
  assert size(PRESETS[name]) == PARAMETERS[name]


def size(fields):
  """The number of parameters; equal networks are counted once."""
  model = build(golden_numbers.make_config(fields))
  if model.networks not in COUNTED:
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    COUNTED[model.networks] = sum(x.size for x in jax.tree.leaves(shapes))
  return COUNTED[model.networks]


@pytest.mark.filterwarnings('ignore:the load_module')
@pytest.mark.parametrize('name', ['gqn', 'cgqn', 'cgqn_context'])
def test_sizes_leave_the_switches_alone(name):
  """Comparisons say by name what a size does not set any more."""
  config = comparison.get_config('preset=small')
  (run,) = [
    run for run in runs.runs(config, {}) if run.model == name and run.seed == 0
  ]
  made = json.loads(json.dumps(cli.read_config(run.flags).to_dict()))
  before = upgraded(PRESETS[f'comparison-small-{name}'])
  for field in ('model', 'pixel_variance', 'learning_rate', 'optimizer'):
    assert made[field] == before[field], field
  plain = narratives.get_config('preset=small,networks=draw').model
  sized = narratives.get_config('preset=small,size=S').model
  changed = {name for name in plain if plain[name] != sized[name]}
  assert changed <= {'nf_to_hidden', 'nf_enc', 'nf_to_obs', 'nf_dec'}


def test_a_switch_that_is_gone_is_named():
  fields = PRESETS['narratives-small-cgqn']
  model = fields['model'] | {'view_frequencies': 4}
  with pytest.raises(ValueError, match='model.view_frequencies 4, which'):
    upgraded(fields | {'model': model})
