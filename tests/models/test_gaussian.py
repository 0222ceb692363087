"""Densities and divergences against SciPy, sampling and hand."""

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


def test_kl_is_the_mean_log_ratio_of_draws():
  q, p = normals(0), normals(1)
  noise = np.random.default_rng(2).standard_normal((100_000, 3, 2, 2, 2))
  draws = gaussian.sample(
    Normal(q.mean[None], q.log_std[None]), jnp.float32(noise)
  )
  ratio = np.asarray(
    gaussian.log_prob(Normal(q.mean[None], q.log_std[None]), draws)
    - gaussian.log_prob(Normal(p.mean[None], p.log_std[None]), draws)
  ).sum((2, 3, 4))
  exact = np.asarray(gaussian.kl(q, p)).sum((1, 2, 3))
  error = ratio.std(0) / np.sqrt(len(ratio))
  assert np.all(exact > 4) and np.all(error < 0.02 * exact)
  np.testing.assert_array_less(np.abs(ratio.mean(0) - exact), 4 * error)


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


@pytest.mark.parametrize(
  ('variance', 'constant'),
  [
    (2.0, 15550.6),
    (0.9, 10644.6),
    (0.6, 8153.4),
    (0.5, 7033.2),
    (0.4, 5662.2),
    (0.3, 3894.7),
    (0.2, 1403.5),
  ],
)
def test_constant_of_a_64x64_frame(variance, constant):
  """The table of nats for D = 64 x 64 x 3."""
  frames = jnp.full((2, 64, 64, 3), 0.25)
  actual = gaussian.image_log_prob(frames, frames, variance)
  np.testing.assert_allclose(actual, [-constant] * 2, atol=0.06)


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
