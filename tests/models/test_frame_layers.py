"""Layers of CDNA, SV2P and sSSM, each against another form of it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cgqn_jax.models import gaussian, layers
from cgqn_jax.models.gaussian import LOG_VARIANCE_RANGE


def draw(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize('size', [3, 5])
def test_strided_conv_is_flax_s(size):
  x, kernel, bias = draw(0, 2, 8, 6, 3), draw(1, size, size, 3, 4), draw(2, 4)
  own = {'kernel': kernel.reshape(-1, 4), 'bias': bias}
  actual = layers.StridedConv(4, size).apply({'params': {'Dense_0': own}}, x)
  theirs = nn.Conv(4, (size, size), (2, 2), 'SAME')
  expected = theirs.apply({'params': {'kernel': kernel, 'bias': bias}}, x)
  assert expected.shape == (2, 4, 3, 4)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_transposed_conv_is_the_transpose():
  """Of the strided one with the same kernel: <A x, y> = <x, A' y>."""
  x, y, kernel = draw(0, 2, 8, 6, 3), draw(1, 2, 4, 3, 5), draw(2, 3, 3, 3, 5)
  down = {'Dense_0': {'kernel': kernel.reshape(-1, 5)}}
  up = {'Dense_0': {'kernel': np.moveaxis(kernel, 3, 0)[..., :].reshape(5, -1)}}
  ax = layers.StridedConv(5, 3, use_bias=False).apply({'params': down}, x)
  ay = layers.TransposedConv(3, use_bias=False).apply({'params': up}, y)
  assert ay.shape == x.shape
  np.testing.assert_allclose(np.vdot(ax, y), np.vdot(x, ay), rtol=1e-4)
  biased = {**up, 'bias': np.array([1, 2, 3], np.float32)}
  shifted = layers.TransposedConv(3).apply({'params': biased}, y)
  by = np.asarray(shifted - ay).reshape(-1, 3)
  np.testing.assert_allclose(by, by * 0 + [[1, 2, 3]], atol=1e-4)


def test_frame_norm_is_over_the_whole_frame():
  x = 3 * draw(0, 2, 4, 5, 6) + 7
  params = {'scale': draw(1, 6), 'bias': draw(2, 6)}
  actual = layers.FrameNorm().apply({'params': {'LayerNorm_0': params}}, x)
  mean = x.mean((1, 2, 3), keepdims=True)
  std = x.std((1, 2, 3), keepdims=True)
  expected = (x - mean) / std * params['scale'] + params['bias']
  np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_space_and_depth():
  x = np.arange(2 * 8 * 12 * 3, dtype=np.float32).reshape(2, 8, 12, 3)
  deep = layers.space_to_depth(x, 4)
  assert deep.shape == (2, 2, 3, 48)
  patch = x[1, 4:8, 8:12].reshape(-1)  # of cell (1, 2), row by row
  np.testing.assert_array_equal(deep[1, 1, 2], patch)
  np.testing.assert_array_equal(layers.depth_to_space(deep, 4), x)


def test_a_log_variance_comes_back_over_its_bound():
  """The value is clipped, the gradient is not."""
  low, high = LOG_VARIANCE_RANGE
  rho = np.array([low - 5, 0.5, high + 5], np.float32)
  normal = gaussian.normal(jnp.zeros(3), jnp.asarray(rho))
  np.testing.assert_allclose(normal.log_std, [low / 2, 0.25, high / 2])
  grad = jax.grad(lambda r: jnp.sum(gaussian.normal(r, r).log_std))(rho)
  np.testing.assert_allclose(grad, 0.5)
