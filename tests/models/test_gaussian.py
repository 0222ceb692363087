"""Densities and divergences against SciPy, sampling and hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cgqn_jax.models import gaussian
from cgqn_jax.types import Normal


def normals(seed: int) -> Normal:
  rng = np.random.default_rng(seed)
  mean, log_std = rng.normal(0, 0.7, (2, 3, 2, 2, 2)).astype(np.float32)
  return Normal(jnp.asarray(mean), jnp.asarray(log_std))


def test_kl_by_hand():
  """KL(N(1, 4) || N(0, 1)) = (4 + 1 - 1) / 2 - log 2."""
  q = Normal(jnp.ones((1, 1, 1)), jnp.full((1, 1, 1), np.log(2.0)))
  p = Normal(jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)))
  np.testing.assert_allclose(gaussian.kl(q, p)[0, 0, 0], 1.3068528, rtol=1e-6)
  # The other way: (1/4 + 1/4 - 1) / 2 + log 2.
  np.testing.assert_allclose(gaussian.kl(p, q)[0, 0, 0], 0.4431472, rtol=1e-6)
  assert gaussian.kl(q, p).shape == (1, 1, 1)
  np.testing.assert_array_equal(gaussian.kl(q, q), 0)


def test_log_prob_is_scipy_s():
  q = normals(3)
  value = np.random.default_rng(4).standard_normal(q.mean.shape)
  expected = stats.norm.logpdf(value, q.mean, np.exp(q.log_std))
  actual = np.asarray(gaussian.log_prob(q, jnp.float32(value)))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_sample_shifts_and_scales():
  normal = Normal(jnp.float32([1, -2]), jnp.log(jnp.float32([0.5, 3])))
  actual = gaussian.sample(normal, jnp.float32([2, -1]))
  np.testing.assert_allclose(actual, [2, -5], rtol=1e-6)


@pytest.mark.parametrize('variance', [2.0, 0.5, 0.02])
def test_image_log_prob_is_scipy_s(variance):
  mean, frames = np.random.default_rng(5).random((2, 4, 8, 8, 3))
  expected = stats.norm.logpdf(frames, mean, np.sqrt(variance))
  actual = gaussian.image_log_prob(
    jnp.float32(mean), jnp.float32(frames), variance
  )
  np.testing.assert_allclose(actual, expected.sum((1, 2, 3)), rtol=1e-5)


def test_the_head_s_log_variance_is_clipped():
  head = jnp.float32([7, -7, 0, 3, -50, -9, 3, 50])
  normal = gaussian.from_head(head)
  np.testing.assert_array_equal(normal.mean, [7, -7, 0, 3])
  # Half of a log-variance in [-10, 4] is a log standard deviation.
  np.testing.assert_array_equal(normal.log_std, [-5, -4.5, 1.5, 2])


def test_a_log_variance_comes_back_over_its_bound():
  """The value is clipped, the gradient is not."""
  low, high = gaussian.LOG_VARIANCE_RANGE
  rho = np.array([low - 5, 0.5, high + 5], np.float32)
  normal = gaussian.normal(jnp.zeros(3), jnp.asarray(rho))
  np.testing.assert_allclose(normal.log_std, [low / 2, 0.25, high / 2])
  grad = jax.grad(lambda r: jnp.sum(gaussian.normal(r, r).log_std))(rho)
  np.testing.assert_allclose(grad, 0.5)
