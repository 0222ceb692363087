"""The measurement of jumps: what is drawn, at which cost, at which t."""

import itertools

import jax
import numpy as np
import pytest

from cgqn_jax.benchmark import jump
from cgqn_jax.files import write_jsonl
from cgqn_jax.models.build import SEQUENTIAL, build


@pytest.fixture(scope='module')
def configs(make_config):
  names = ('cgqn', 'gqn', *SEQUENTIAL)
  return {name: make_config(f'model={name}') for name in names}


def flops(config, frame, mode):
  model = build(config)
  params = jax.eval_shape(model.init, jax.random.key(0))
  reached = jump.reaching(model, frame)
  return jump.flops(reached, 1, params, *jump.inputs(config, frame, mode, 1))


def grow(config, mode):
  """What frames 9 and 12 cost more than those before them."""
  six, nine, twelve = (flops(config, frame, mode) for frame in (6, 9, 12))
  return nine - six, twelve - nine


@pytest.fixture(scope='module')
def growths(configs):
  return {
    (name, mode): grow(config, mode)
    for name, config in configs.items()
    if name in ('cgqn', 'sssm', 'cdna')
    for mode in jump.MODES
  }


def test_a_jump_of_cgqn_costs_the_same_whatever_t(growths, configs):
  assert growths['cgqn', 'one'] == (0, 0)
  assert flops(configs['cgqn'], 100, 'one') == flops(configs['cgqn'], 6, 'all')
  assert growths['cgqn', 'all'][0] > 0


def test_sequential_models_pay_for_every_frame_between(growths):
  for name in ('sssm', 'cdna'):
    for mode in jump.MODES:
      first, second = growths[name, mode]
      assert first == second > 0  # a line


def test_a_jump_of_sssm_decodes_one_frame_alone(growths):
  assert growths['sssm', 'one'] < growths['sssm', 'all']
  assert growths['cdna', 'one'] == growths['cdna', 'all']


@pytest.mark.parametrize('name', ['sssm', 'sv2p'])  # cdna as sv2p
def test_the_last_frame_is_that_of_a_whole_video(name, configs, make_params):
  """Where the jump ends the training's videos, it is their last frame."""
  config = configs[name]
  last = config.data.num_frames - 1
  model = build(config)
  params = make_params(model)
  reached = jump.reaching(model, last)
  one = reached.sample(params, *jump.inputs(config, last, 'one', 2))
  every = model.sample(params, *jump.inputs(config, last, 'all', 2))
  assert one.shape[:3] == (1, 2, 1)
  assert every.shape[:3] == (1, 2, last + 1 - jump.CONTEXT)
  assert np.all(np.isfinite(every))
  np.testing.assert_allclose(one[:, :, 0], every[:, :, -1], atol=1e-5)


def test_queries_beyond_the_videos_of_training(configs):
  last = configs['cgqn'].data.num_frames - 1
  *_, context, mask, views = jump.inputs(configs['cgqn'], 2 * last, 'one', 3)
  assert views.shape == (3, 1, 1) and np.all(views == 2.0)
  np.testing.assert_allclose(context.views[0, :, 0], np.arange(6) / last)
  assert mask.shape == (3, 6)
  *_, views = jump.inputs(configs['sv2p'], 100, 'all', 1)
  assert views.max() == 1 and views.shape[1] == 95


def test_measure(configs):
  compared = {name: configs[name] for name in ('cgqn', 'sssm')}
  rows = jump.measure(compared, [6, 8], num_samples=2, repeats=3)
  cases = itertools.product(compared, (6, 8), jump.MODES)
  assert [(row['model'], row['frame'], row['mode']) for row in rows] == [*cases]
  for row in rows:
    assert row['seconds'] == sorted(row['timings'])[1] > 0
    assert row['first_quartile'] <= row['seconds'] <= row['third_quartile']
    assert row['repeats'] == len(row['timings']) == 3
    assert row['flops'] > 0 and row['parameters'] > 0
    assert row['frames'] == (row['frame'] - 5 if row['mode'] == 'all' else 1)
    assert row['versions']['jax'] == jax.__version__


def test_rows_are_read_as_they_were_written(tmp_path):
  row = {'frame': 6, 'mode': 'one', 'seconds': 0.1, 'flops': 1.0}
  rows = [
    {'model': 'cgqn', 'timings': [0.1], **row},
    {'model': 'gqn', 'timings': [], **row},
  ]
  path = tmp_path / 'jump.jsonl'
  write_jsonl(path, rows)
  assert jump.load(path) == rows
  for text in ('', '{"step": 3}\n', '{'):
    path.write_text(text)
    with pytest.raises(ValueError, match='jump.jsonl'):
      jump.load(path)
  with pytest.raises(ValueError, match='none.jsonl'):
    jump.load(tmp_path / 'none.jsonl')


@pytest.mark.parametrize('frames', [[], [6], [6, 6], [5, 8]])
def test_frames_that_say_nothing(configs, frames):
  with pytest.raises(ValueError, match='at least two, each once, from 6'):
    jump.check(configs, frames)


def test_dice_have_no_frame_to_jump_to(make_dice_config):
  with pytest.raises(ValueError, match='no timestamps'):
    jump.check({'gqn': make_dice_config()}, [6, 8])
