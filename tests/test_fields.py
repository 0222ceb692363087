"""Every field of a config is checked, whatever stands in it, in one line.

The properties are tried on hundreds of cases; they only check and build, and
make no parameters.
"""

import copy
import json
import math
import pathlib
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
import jax
from ml_collections import ConfigDict
import pytest

from cgqn_jax import cli, fields
from cgqn_jax.config import upgraded
from cgqn_jax.models.build import build
from cgqn_jax.training import loop
from cgqn_jax.training.workdir import read_workdir

# What ml_collections reads config files with.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module')

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = (
  'configs/narratives.py:preset=smoke',
  'configs/narratives.py:preset=smoke,model=gqn,networks=residual',
  'configs/narratives.py:preset=smoke,model=sssm',
  'configs/narratives.py:preset=smoke,model=sv2p',
  'configs/narratives.py:preset=smoke,model=cdna',
  'configs/dice.py:preset=smoke,networks=residual',
  'configs/gqn_rooms.py:preset=smoke',
)
EXPERIMENTS = ('configs/comparison.py', 'configs/dice_comparison.py')
CASES = settings(
  max_examples=400,
  deadline=None,
  database=None,
  derandomize=True,
  suppress_health_check=list(HealthCheck),
)
# What people and scripts write where a number was meant.
TEXTS = (
  '', '0', '-1', '1', '2', '7', '0.5', '1e-3', '1e3', '1e400', 'nan', '-inf',
  'NaN', 'None', 'null', 'true', 'False', 'many', 'ü', '2147483648', '9' * 30,
  '9' * 5000, '1,2', '0,0', '(1,', '()', '[1, 2]', '{}', "{'a': 1}", "'", '"',
  'a\nb', '\0', '\\', '=', '--', '%s', '$HOME', '../x', '1_000', '0x10', ' 3 ',
)  # fmt: skip


@pytest.fixture(scope='module')
def configs() -> dict[str, ConfigDict]:
  """The configs by their --config."""
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(ROOT)
    return {path: cli.read_config([f'--config={path}']) for path in CONFIGS}


def as_json(config: ConfigDict) -> dict:
  return json.loads(json.dumps(config.to_dict()))


def changed(nested: dict, name: str, value) -> dict:
  """Nested fields with one of them set, whatever was there."""
  nested = copy.deepcopy(nested)
  *groups, last = name.split('.')
  group = nested
  for key in groups:
    group = group[key]
  group[last] = value
  return nested


def one_line(error: Exception) -> str:
  text = str(error)
  assert text and '\n' not in text and len(text) < 1_000, text
  assert 'object at 0x' not in text and 'Traceback' not in text
  return text


# Of one JSON value: any type, with what breaks ranges.
LEAVES = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.floats(),
  st.sampled_from([0, -1, 1, 2**31, -(2**31), 10**30, 0.0, -0.5, 1e300]),
  st.sampled_from([math.nan, math.inf, -math.inf]),
  st.text(max_size=8),
)
VALUES = st.one_of(
  LEAVES,
  st.lists(LEAVES, max_size=5).map(tuple),
  st.dictionaries(st.text('ab', min_size=1), LEAVES, max_size=2),
)


def is_like(value, was) -> bool:
  """Tells whether a value is of the type of the one that was there."""
  if type(was) is float:
    return type(value) in (int, float) and math.isfinite(value)
  if type(was) is tuple:
    return type(value) is tuple and all(
      type(x) in (int, float) and math.isfinite(x) for x in value
    )
  return type(value) is type(was)


@CASES
@given(st.data())
def test_any_value_of_any_field_fits_or_is_named(configs, data):
  config = configs[data.draw(st.sampled_from(CONFIGS))]
  given = config.to_dict()
  name = data.draw(st.sampled_from(sorted(fields.flatten(given))))
  value, was = data.draw(VALUES), fields.flatten(given)[name]
  try:
    loop.check(ConfigDict(changed(given, name, value)))
  except ValueError as error:
    text = one_line(error)
    if not is_like(value, was):
      assert name in text
    else:  # of this field, or of another that does not go with it
      assert any(field in text for field in fields.flatten(given)), text
  else:
    assert is_like(value, was)


@CASES
@given(st.data())
def test_any_command_line_works_or_is_one_line(configs, data):
  path = data.draw(st.sampled_from(CONFIGS))
  known = fields.flatten(configs[path].to_dict())
  name = data.draw(st.sampled_from(sorted(known)))
  text = data.draw(st.one_of(st.sampled_from(TEXTS), st.text(max_size=6)))
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(ROOT)
    try:
      config = cli.read_config([f'--config={path}', f'--config.{name}={text}'])
      value = fields.flatten(config.to_dict())[name]
      loop.check(config)
    except ValueError as error:
      said = one_line(error)
      assert any(field in said for field in known), said
    else:
      assert is_like(value, known[name])


@settings(CASES, max_examples=200)
@given(st.data())
def test_a_misspelt_field_is_named_with_its_neighbour(configs, data):
  path = data.draw(st.sampled_from(CONFIGS))
  known = fields.flatten(configs[path].to_dict())
  groups = {name.rpartition('.')[0] for name in known} - {''}
  name = data.draw(st.sampled_from(sorted(known)))
  place = data.draw(st.integers(0, len(name) - 1))
  letter = data.draw(st.sampled_from(['', '-', '[', ' ', 'x', '..', '(']))
  wrong = name[:place] + letter + name[place + 1 :]
  if wrong in known or wrong in groups:
    return
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(ROOT)
    with pytest.raises(ValueError) as error:
      cli.read_config([f'--config={path}', f'--config.{wrong}=1'])
  assert f'there is no field {wrong}' in one_line(error.value)


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--config.batch-size=8', 'no field batch-size; the nearest is batch_size'),
    ('--config.lerning_rate=1', 'the nearest is learning_rate'),
    ('--config.frame_size=32', 'the nearest is data.frame_size'),
    ('--config.model=cgqn', 'it must be fields, as model.<field>'),
    ('--config.learning_rate=fast', 'must be a number, for one value all al'),
    (
      '--batch_size=8',
      'no flag --batch_size; the nearest is config.batch_size',
    ),
    ('--config.num_steps=many', "num_steps is 'many'; it must be a whole"),
    ('--config.data.tiny=perhaps', "data.tiny is 'perhaps'; it must be True"),
  ],
)
def test_what_a_wrong_flag_is_answered(monkeypatch, flag, message):
  monkeypatch.chdir(ROOT)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    cli.read_config([f'--config={CONFIGS[0]}', flag])
  one_line(error.value)


def test_a_constant_schedule_as_it_is_said(monkeypatch):
  monkeypatch.chdir(ROOT)
  flags = ['boundaries=0', 'values=1e-3']
  flags = [f'--config.learning_rate.{flag}' for flag in flags]
  config = cli.read_config([f'--config={CONFIGS[0]}', *flags])
  loop.check(config)
  assert config.learning_rate['values'] == (1e-3,)


@pytest.mark.parametrize(
  ('path', 'changes', 'message'),
  [
    (0, {'seed': 2**31}, 'seed is 2147483648; it must be a whole number from'),
    (0, {'seed': -1}, 'seed is -1'),
    (0, {'num_steps': 0}, 'num_steps is 0; it must be a whole number from 1'),
    (0, {'batch_size': 0}, 'batch_size is 0'),
    (0, {'ema_decay': 1.5}, 'ema_decay is 1.5; .* from 0 to below 1'),
    (0, {'ema_decay': math.nan}, 'ema_decay is nan'),
    (0, {'max_skipped_in_a_row': 0}, 'max_skipped_in_a_row is 0'),
    (0, {'log_every': -1}, 'log_every is -1; .* from 0, for never'),
    (0, {'validation_scenes': 0}, 'validation_scenes is 0'),
    (0, {'keep_checkpoints': 0}, 'keep_checkpoints is 0'),
    (0, {'data.workers': -1}, 'data.workers is -1; .* from 0, for a thread'),
    (0, {'data.num_targets': 0}, 'data.num_targets is 0'),
    (0, {'data.min_context': -1}, 'data.min_context is -1'),
    (0, {'data.test_context': (-1,)}, r'data.test_context is \(-1,\)'),
    (0, {'data.source': 'web'}, "data.source is 'web'; .* 'folder' or 'gqn'"),
    (0, {'optimizer.name': 'sgd'}, "optimizer.name is 'sgd'; .* or 'muon'"),
    (0, {'optimizer.clip_norm': 0.0}, 'clip_norm is 0.0; .* above 0'),
    (0, {'model.draw_steps': 0}, 'model.draw_steps is 0'),
    (0, {'model.nf_z': 0}, 'model.nf_z is 0'),
    (0, {'model.stride_to_obs': 0}, 'model.stride_to_obs is 0'),
    (0, {'model.kernel': 4}, 'model.kernel is 4; it must be odd'),
    (0, {'model.encoder_widths': (8,)}, r'is \(8,\); it must be 4 values'),
    (0, {'model.networks': 'deep'}, "networks is 'deep'; .* 'draw' or 'res"),
    (0, {'data.protocol': 'hidden_side'}, 'data.min_targets is missing'),
    (
      0,
      {'data.protocol': 'hidden_side', 'data.min_targets': 1},
      'does not say which sides',
    ),
    (0, {'model.name': 'sssm'}, 'there is no field model.'),
    (1, {'model.width': 0}, 'model.width is 0; it must be a whole number fr'),
    (1, {'model.vector_latent': -1}, 'vector_latent is -1; .* 0, for choices'),
    (1, {'model.map_latent': -1}, 'model.map_latent is -1'),
    (1, {'num_rendered': -1}, 'num_rendered is -1; .* from 0, for all'),
    (2, {'model.width': 0.0}, 'model.width is 0.0; it must be a number above'),
    (3, {'informed.values': (0.0, 2.0)}, r'informed.values is \(0.0, 2.0\)'),
    (4, {'model.truth_half_life': 0.0}, 'truth_half_life is 0.0; .* above 0'),
    (5, {'data.protocol': 'frames'}, 'data.context_window is missing'),
    (0, {'learning_rate.values': (1.0,)}, 'learning_rate.values .* 2 values'),
    (0, {'learning_rate.boundaries': ()}, r'learning_rate.boundaries is \(\)'),
    (0, {'learning_rate.boundaries': (0, 4000)}, 'shares of the run'),
    (0, {'learning_rate.boundaries': (0.5, 0.2)}, 'shares of the run'),
    (0, {'learning_rate.interpolation': 'cubic'}, "is 'cubic'; .* 'cosine'"),
    (0, {'pixel_variance.values': (2.0, 0.0)}, 'pixel_variance.values is'),
  ],
)
def test_ranges(configs, path, changes, message):
  given = configs[CONFIGS[path]].to_dict()
  for name, value in changes.items():
    given = changed(given, name, value)
  with pytest.raises(ValueError, match=message) as error:
    loop.check(ConfigDict(given))
  one_line(error.value)


@pytest.mark.parametrize('name', [n for n in fields.RUN if n.endswith('every')])
def test_zero_is_never(configs, name):
  loop.check(ConfigDict(changed(configs[CONFIGS[0]].to_dict(), name, 0)))


def test_every_row_is_of_a_config_and_every_field_has_a_row(configs):
  found = set()
  for config in configs.values():
    found |= set(fields.flatten(config.to_dict()))
    loop.check(config)
  table = set(fields.RUN)
  for part in (*fields.MODELS.values(), *fields.PROTOCOLS.values()):
    table |= set(part)
  assert found == table


@pytest.mark.parametrize('file', EXPERIMENTS)
def test_experiments_have_a_table_too(monkeypatch, file):
  monkeypatch.chdir(ROOT)
  for preset in ('paper', 'small', 'smoke'):
    config = cli.read_config([f'--config={file}:preset={preset}'])
    fields.check_experiment(config)
    own = {n for n in fields.flatten(config.to_dict()) if 'models.' not in n}
    assert own == set(fields.EXPERIMENT)
  with pytest.raises(ValueError, match='of an experiment of many runs'):
    loop.check(config)
  config.evaluation.num_scenes = 0
  with pytest.raises(ValueError, match='evaluation.num_scenes is 0; it must'):
    fields.check_experiment(config)


def test_jax_of_64_bits_is_one_line(configs):
  jax.config.update('jax_enable_x64', True)
  try:
    with pytest.raises(ValueError, match='JAX_ENABLE_X64 is on') as error:
      loop.check(configs[CONFIGS[0]])
  finally:
    jax.config.update('jax_enable_x64', False)
  one_line(error.value)


def read(folder: pathlib.Path, value) -> ConfigDict:
  (folder / 'config.json').write_text(json.dumps(value))
  return read_workdir(folder)


@pytest.mark.parametrize('path', CONFIGS)
def test_a_field_that_a_folder_lacks(configs, tmp_path, path):
  """It is what older runs did where that is known, else it is named."""
  whole = as_json(configs[path])
  table = fields.rows(fields.flatten(whole))
  for name in fields.flatten(whole):
    less = copy.deepcopy(whole)
    *groups, last = name.split('.')
    group = less
    for key in groups:
      group = group[key]
    del group[last]
    if name == 'model.networks' and 'model.width' in table:
      # Of old runs, whose networks were all the paper's, none has a width.
      with pytest.raises(ValueError, match='no field model.* of draw networks'):
        read(tmp_path, less)
    elif table[name].absent is fields.REQUIRED:
      with pytest.raises(ValueError, match=f'config.json: .*{name}') as error:
        read(tmp_path, less)
      assert str(tmp_path) in one_line(error.value)
    else:
      found = fields.flatten(read(tmp_path, less).to_dict())
      assert found[name] == table[name].absent
      assert set(found) == set(fields.flatten(whole))


@pytest.mark.parametrize('value', [{}, [], None, 3, 'x', True, {'data': []}])
def test_a_folder_whose_config_is_none(tmp_path, value):
  with pytest.raises(ValueError, match='config.json: ') as error:
    read(tmp_path, value)
  assert str(tmp_path) in one_line(error.value)


@settings(CASES, max_examples=200)
@given(st.data())
def test_any_value_in_a_folder_fits_or_is_named(
  configs, tmp_path_factory, data
):
  config = configs[data.draw(st.sampled_from(CONFIGS))]
  given, whole = config.to_dict(), as_json(config)
  groups = {name.rpartition('.')[0] for name in fields.flatten(given)} - {''}
  names = sorted({*fields.flatten(given), *groups, 'new', 'model.new'})
  name, value = data.draw(st.sampled_from(names)), data.draw(VALUES)
  folder = tmp_path_factory.getbasetemp() / 'folder'
  folder.mkdir(exist_ok=True)
  try:
    found = read(folder, changed(whole, name, value))
  except ValueError as error:
    assert f'{folder}/config.json: ' in one_line(error)
  else:
    assert is_like(fields.flatten(found.to_dict())[name], value)


@pytest.mark.parametrize(
  'path',
  sorted(ROOT.glob('results/**/config.json'))
  + sorted(ROOT.glob('cgqn_jax/weights/*/config.json'))
  + sorted(ROOT.glob('tests/fixtures/*/config.json')),
  ids=lambda path: str(path.parent.relative_to(ROOT)),
)
def test_recorded_runs_are_read(path):
  kept = json.loads(path.read_text('utf-8'))
  if kept['model'].get('view_frequencies'):
    with pytest.raises(ValueError, match='view_frequencies'):
      upgraded(kept)
  else:
    loop.check(read_workdir(path.parent))


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS)
def test_networks_of_the_least_fields_are_made(configs, path):
  """By their shapes: the ends of the ranges are no mistakes."""
  given = configs[path].to_dict()
  table = fields.rows(fields.flatten(given))
  for name, row in table.items():
    least = next((n for n in (0, 1) if row.fits(n)), None)
    if name.startswith('model.') and least is not None:
      try:
        model = build(ConfigDict(changed(given, name, least)))
      except ValueError as error:
        one_line(error)
      else:
        jax.eval_shape(model.init, jax.random.key(0))
