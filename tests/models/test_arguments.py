"""Arguments of the models' methods are what they seem, or refused in a line."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cgqn_jax import types
from cgqn_jax.models.build import build
from cgqn_jax.types import Scene

KEY = jax.random.key(0)


@pytest.fixture(scope='module')
def asked(make_batch):
  """Arguments of `sample` that fit."""
  batch = make_batch(2, 3, 2)
  return {
    'key': KEY,
    'context': batch.context,
    'context_mask': batch.context_mask,
    'views': batch.target.views,
    'num_samples': 2,
  }


def refused(model, params, arguments) -> str:
  with pytest.raises(ValueError) as error:
    model.sample(params, **arguments)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  'dtype', ['int8', 'int16', 'uint16', 'int32', 'uint32', 'bool', 'complex64']
)
@pytest.mark.parametrize('traced', [False, True])
def test_frames_of_other_numbers_are_refused(
  model, params, asked, make_batch, dtype, traced
):
  """The dtype is known when tracing, before anything is computed."""
  frames = asked['context'].frames.astype(dtype)
  context = asked['context']._replace(frames=frames)

  def sample(params, context):
    return model.sample(params, **(asked | {'context': context}))

  run = jax.jit(sample) if traced else sample
  with pytest.raises(ValueError, match=f'context.frames are {dtype}; they mus'):
    run(params, context)
  with pytest.raises(ValueError, match=f'frames are {dtype}; they must be uin'):
    types.to_unit(frames)
  batch = make_batch(2, 3, 2)
  batch = batch._replace(target=batch.target._replace(frames=frames[:, :2]))
  for method in (model.loss, model.elbo):
    with pytest.raises(ValueError, match=f'target.frames are {dtype}'):
      jax.eval_shape(method, params, KEY, batch, jnp.float32(1))


def test_uint8_and_floats_in_0_1_are_the_same(model, params, asked):
  context = asked['context']
  sample = jax.jit(
    lambda context: model.sample(params, **(asked | {'context': context}))
  )
  expected = sample(context)
  for dtype in ('float32', 'float64'):
    frames = (context.frames / 255.0).astype(dtype)
    found = sample(context._replace(frames=frames))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_floats_up_to_255_are_warned_of(model, asked, monkeypatch):
  monkeypatch.setattr(model, '_sample', lambda *_: None)
  context = asked['context']
  frames = context.frames.astype(np.float32)
  with pytest.warns(UserWarning, match='beyond 2, and floats .* divide by 255'):
    model.sample({}, **(asked | {'context': context._replace(frames=frames)}))
  # What padding holds is not looked at, and a model's own may be beyond 1.
  frames = frames / 200
  frames[:, 2] = 255
  mask = np.arange(3)[None] < [[2], [2]]
  arguments = {'context': context._replace(frames=frames), 'context_mask': mask}
  model.sample({}, **(asked | arguments))


@pytest.mark.parametrize(
  ('name', 'change', 'message'),
  [
    ('key', lambda x: jax.random.PRNGKey(0), 'key is an array of uint32; it '),
    ('key', lambda x: 0, 'key is int; it must be a typed key, jax.random.key'),
    ('key', lambda x: jax.random.split(x), r'key is \[2\] keys; it must be'),
    ('num_samples', lambda x: 0, 'num_samples is 0; it must be a whole number'),
    ('num_samples', lambda x: -1, 'num_samples is -1; it must be'),
    ('num_samples', lambda x: 2.0, 'num_samples is 2.0; it must be'),
    (
      'context_mask',
      lambda x: x.tolist(),
      r'context_mask is a list; it must be an array of bool, \[any, any\]',
    ),
    ('context_mask', lambda x: x.astype(int), 'context_mask is of int64'),
    ('context_mask', lambda x: x[0], r'context_mask is of bool, \[3\]; it'),
    ('context_mask', lambda x: x[:, :2], r'context.frames is of uint8, \[2, '),
    ('context', lambda x: tuple(x), 'context is a tuple; it must be a Scene'),
    (
      'context',
      lambda x: x._replace(frames=x.frames.tolist()),
      'context.frames is a list',
    ),
    (
      'context',
      lambda x: x._replace(frames=x.frames[..., :1]),
      r'\[2, 3, 16, 16, 1\]; it must be an array of uint8, \[2, 3, 16, 16, 3\]',
    ),
    (
      'context',
      lambda x: x._replace(views=x.views[..., 0]),
      r'context.views is of float32, \[2, 3\]; it must be an array of floats, ',
    ),
    ('views', lambda x: x[:1], r'views is of float32, \[1, 2, 1\]; '),
    ('views', lambda x: x.tolist(), 'views is a list; it must be an array'),
    ('views', lambda x: x.astype(int), 'views is of int64, .* floats'),
    ('example_id', lambda x: np.arange(3), r'example_id is of int64, \[3\]'),
    ('example_id', lambda x: [0, 1], 'example_id is a list; it must be an arr'),
  ],
)  # fmt: skip
def test_arguments_that_do_not_fit(model, params, asked, name, change, message):
  changed = asked | {name: change(asked.get(name))}
  assert re.search(message, refused(model, params, changed))


@pytest.mark.parametrize(
  'arg',
  [
    '',
    'model=gqn',
    pytest.param('networks=residual', marks=pytest.mark.slow),
    pytest.param('model=gqn,networks=residual', marks=pytest.mark.slow),
  ],
)
def test_what_padding_holds_never_matters(
  make_config, make_params, make_batch, arg
):
  """NaN neither, in samples, bounds and gradients: not a bit."""
  model = build(make_config(arg))
  params = make_params(model)
  batch = make_batch(2, 3, 3)
  batch.context_mask[0, 1:] = batch.target_mask[1, 1:] = False
  plain = batch._replace(
    context=Scene(*map(floats, batch.context)),
    target=Scene(*map(floats, batch.target)),
  )
  padded = jax.tree.map(np.copy, plain)
  for scene, mask in (
    (padded.context, padded.context_mask),
    (padded.target, padded.target_mask),
  ):
    scene.frames[~mask] = np.nan
    scene.views[~mask] = np.inf

  @jax.jit
  def run(batch):
    context, mask = batch.context, batch.context_mask
    views = plain.target.views
    drawn = model.sample(params, KEY, context, mask, views, 2)
    loss = jax.value_and_grad(model.loss, has_aux=True)
    return drawn, loss(params, KEY, batch, jnp.int32(3))

  for one, other in zip(
    jax.tree.leaves(run(plain)), jax.tree.leaves(run(padded)), strict=True
  ):
    assert np.isfinite(other).all()
    np.testing.assert_array_equal(one, other)


def floats(x: np.ndarray) -> np.ndarray:
  return x if x.dtype == np.float32 else np.float32(x) / np.float32(255)


def test_a_sequence_has_no_padding(make_config, make_video):
  model = build(make_config('model=cdna'))
  batch = make_video(2, 6, 15)
  mask = batch.context_mask.copy()
  mask[1, 5:] = False
  with pytest.raises(ValueError, match='context_mask marks padding; cdna'):
    model.sample({}, KEY, batch.context, mask, batch.target.views)
