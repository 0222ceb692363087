"""CDNA: kernels, masks, its layers against plain forms, and what it is fed."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cgqn_jax.models import cdna, layers, schedules
from cgqn_jax.models.build import build
from configs import narratives

KEY = jax.random.key(3)


def draw(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope='module')
def predictor(make_params):
  """At 16x16, with its parameters: 4 kernels of 5x5."""
  module = cdna.Predictor(width=0.125, kernel_size=5, num_kernels=4)
  arguments = (
    jnp.zeros((2, 3, 16, 16, 3)),
    jnp.ones((2, 3), bool),
    jnp.zeros((2, 3, 2, 2, 1)),
  )

  def init(key):
    return module.init(key, *arguments, method='roll')['params']

  return module, make_params(types.SimpleNamespace(init=init))


@pytest.fixture(scope='module')
def inputs():
  rng = np.random.default_rng(5)
  truth = rng.random((2, 3, 16, 16, 3), dtype=np.float32)
  return truth, np.ones((2, 3), bool), draw(6, 2, 3, 2, 2, 1)


@pytest.fixture(scope='module')
def roll(predictor):
  module, _ = predictor

  @jax.jit
  def run(params, *inputs):
    return module.apply({'params': params}, *inputs, method='roll')

  return run


def scipy_move(frame, kernels, masks):
  """One kernel after the other, as the text has it: correlation, zeros."""
  size = int(np.sqrt(kernels.shape[1]))
  out = np.zeros_like(frame)
  for b in range(len(frame)):
    for k in range(kernels.shape[-1]):
      kernel = kernels[b, :, k].reshape(size, size)
      for c in range(3):
        moved = ndimage.correlate(frame[b, ..., c], kernel, mode='constant')
        out[b, ..., c] += masks[b, ..., k] * moved
  return out


@pytest.mark.parametrize('size', [5, 9])
def test_move_is_a_correlation_with_each_kernel(size):
  frame, masks = draw(0, 2, 8, 12, 3), draw(1, 2, 8, 12, 4)
  kernels = draw(2, 2, size * size, 4)
  moved = jax.jit(cdna.move)(frame, kernels, masks)
  expected = scipy_move(frame, kernels, masks)
  np.testing.assert_allclose(moved, expected, atol=1e-4)


def test_the_background_mask_alone_copies_the_frame(predictor, inputs, roll):
  """Frame by frame, to the last bit; fed with its own, for ever the first."""
  module, params = predictor
  params = jax.tree.map(np.copy, params)
  params['masks']['kernel'][:] = 0
  params['masks']['bias'][:] = [200, 0, 0, 0, 0, 0]
  truth, feed, z = inputs
  np.testing.assert_array_equal(roll(params, *inputs), truth)
  own = np.array([[True, False, False], [True, True, False]])
  frames = roll(params, truth, own, z)
  np.testing.assert_array_equal(frames[0], truth[0, [0, 0, 0]])
  np.testing.assert_array_equal(frames[1], truth[1, [0, 1, 1]])


def test_kernels_sum_to_one_and_frames_stay_in_range(predictor, inputs, roll):
  module, params = predictor
  bottleneck = draw(4, 2, 2, 2, 16)
  kernels = module.apply({'params': params}, bottleneck, method='make_kernels')
  assert kernels.shape == (2, 25, 4) and np.min(kernels) >= 0
  np.testing.assert_allclose(np.sum(kernels, 1), 1, rtol=1e-5)
  frames = np.asarray(roll(params, *inputs))
  assert frames.shape == (2, 3, 16, 16, 3)
  assert frames.min() >= 0 and frames.max() <= 1


def test_masks_sum_to_one_over_all_sources(predictor, inputs, roll):
  """White painted on white stays white, but where the zeros around reach."""
  _, params = predictor
  params = jax.tree.map(np.copy, params)
  params['paint']['bias'][:] = 100
  truth, feed, z = inputs
  frames = np.asarray(roll(params, np.ones_like(truth), feed, z))
  np.testing.assert_allclose(frames[:, :, 2:-2, 2:-2], 1, rtol=1e-5)
  assert frames[:, :, 0].min() < 0.98


def test_new_pixels_can_be_dark(predictor, inputs, roll):
  """The released code's rectified head cannot go below a half."""
  _, params = predictor
  params = jax.tree.map(np.copy, params)
  params['paint']['bias'][:] = -100
  params['masks']['bias'][1] = 100
  np.testing.assert_allclose(roll(params, *inputs), 0, atol=1e-6)


def test_every_kernel_and_every_mask_learns(predictor, inputs):
  """The released code has no mask for the last kernel."""
  module, params = predictor

  @jax.jit
  @jax.grad
  def gradient(params):
    frames = module.apply({'params': params}, *inputs, method='roll')
    return jnp.sum(frames * draw(9, *frames.shape))

  grads = gradient(params)
  kernels = grads['kernels']['bias'].reshape(25, 4)
  assert np.all(np.abs(kernels).max(0) > 1e-4)
  assert grads['masks']['bias'].shape == (2 + 4,)
  assert np.all(np.abs(grads['masks']['bias']) > 1e-3)
  largest = [np.abs(g).max() for g in jax.tree.leaves(grads)]
  assert np.min(largest) > 1e-7  # no layer is dead


def test_large_kernels_are_made_from_the_mean(make_params):
  sizes = {}
  for size in (5, 9, 13):
    module = cdna.Predictor(width=0.125, kernel_size=size, num_kernels=2)
    shapes = jax.eval_shape(
      lambda key, module=module: module.init(
        key, jnp.zeros((1, 2, 2, 16)), method='make_kernels'
      ),
      KEY,
    )
    sizes[size] = shapes['params']['kernels']['kernel'].shape
  assert sizes == {5: (64, 50), 9: (16, 162), 13: (16, 338)}


def test_feeding(predictor, inputs, roll):
  """A step that is fed the truth forgets its own frame, not its states."""
  _, params = predictor
  truth, feed, z = inputs
  frames = roll(params, truth, feed, z)
  mixed = np.array([[True, True, False]] * 2)
  own = truth.copy()
  own[:, 2] = frames[:, 1]
  np.testing.assert_allclose(
    roll(params, truth, mixed, z), roll(params, own, feed, z), atol=1e-5
  )
  other = truth.copy()
  other[:, 2] = 1 - other[:, 2]
  unseen = roll(params, other, mixed, z)
  np.testing.assert_array_equal(unseen, roll(params, truth, mixed, z))
  assert np.abs(roll(params, other, feed, z) - frames)[:, 2].max() > 1e-2


def test_what_is_fed():
  coin = np.array([[0.9, 0.9, 0.2, 0.6, 0.4]] * 2, np.float32)
  coin[1] = 0.0
  fed = cdna.fed_truth(coin, 2, 0.5)
  np.testing.assert_array_equal(fed[0], [1, 1, 1, 0, 1])
  np.testing.assert_array_equal(fed[1], 1)
  never = cdna.fed_truth(coin, 2, 0.0)
  np.testing.assert_array_equal(never, [[1, 1, 0, 0, 0]] * 2)


def test_scheduled_sampling():
  """The released k of 900 for 100,000 updates has its half-life at 6,122."""
  truth = schedules.scheduled_sampling(100_000, 900 * np.log(900) / 100_000)
  for step in (0, 1, 3_000, 6_122, 10_000, 100_000):
    expected = 900 / (900 + np.exp(step / 900))
    np.testing.assert_allclose(truth(step), expected, atol=1e-5)
  short = schedules.scheduled_sampling(1_000, 0.06)
  np.testing.assert_allclose(short(60), 0.5, atol=1e-5)
  assert short(0) > 0.94 and 0 <= short(10_000) < 1e-20  # no overflow
  config = narratives.get_config('preset=small,model=cdna')
  model = build(config)
  np.testing.assert_allclose(model.truth(360), 0.5, atol=1e-3)  # of 6,000
  assert config.num_steps == 6_000 and model.truth(6_000) < 1e-3


def test_channels_at_another_width():
  channels = (32, 64, 96, 128)
  assert [layers.scale(c, 1.0) for c in channels] == list(channels)
  assert [layers.scale(c, 0.28) for c in channels] == [8, 18, 26, 36]
  assert layers.scale(32, 0.01) == 2
