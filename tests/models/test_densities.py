"""Densities and divergences against SciPy, sampling and hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cgqn_jax.models import densities
from cgqn_jax.types import Categorical, Choices, Normal


def normals(seed: int) -> Normal:
  rng = np.random.default_rng(seed)
  mean, log_std = rng.normal(0, 0.7, (2, 3, 2, 2, 2)).astype(np.float32)
  return Normal(jnp.asarray(mean), jnp.asarray(log_std))


def test_kl_by_hand():
  """KL(N(1, 4) || N(0, 1)) = (4 + 1 - 1) / 2 - log 2."""
  q = Normal(jnp.ones((1, 1, 1)), jnp.full((1, 1, 1), np.log(2.0)))
  p = Normal(jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)))
  np.testing.assert_allclose(densities.kl(q, p)[0, 0, 0], 1.3068528, rtol=1e-6)
  # The other way: (1/4 + 1/4 - 1) / 2 + log 2.
  np.testing.assert_allclose(densities.kl(p, q)[0, 0, 0], 0.4431472, rtol=1e-6)
  assert densities.kl(q, p).shape == (1, 1, 1)
  np.testing.assert_array_equal(densities.kl(q, q), 0)


def test_log_prob_is_scipy_s():
  q = normals(3)
  value = np.random.default_rng(4).standard_normal(q.mean.shape)
  expected = stats.norm.logpdf(value, q.mean, np.exp(q.log_std))
  actual = np.asarray(densities.log_prob(q, jnp.float32(value)))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_sample_shifts_and_scales():
  normal = Normal(jnp.float32([1, -2]), jnp.log(jnp.float32([0.5, 3])))
  actual = densities.sample(normal, jnp.float32([2, -1]))
  np.testing.assert_allclose(actual, [2, -5], rtol=1e-6)


@pytest.fixture(scope='module')
def choice():
  """Logits of one of 4, and a uniform prior."""
  logits = jax.nn.log_softmax(jnp.float32([1, 0, -2, 3]))
  return Categorical(logits), Categorical(jnp.full(4, -np.log(4.0)))


def test_a_choice_falls_as_often_as_it_is_probable(choice):
  count = 20_000
  noise = jax.random.normal(jax.random.key(0), (count, 4))
  drawn = np.asarray(jax.vmap(lambda x: densities.sample(choice[0], x))(noise))
  np.testing.assert_allclose(np.sort(drawn), [[0, 0, 0, 1]] * count, atol=1e-6)
  share = np.exp(choice[0].logits)
  error = np.sqrt(share * (1 - share) / count)
  assert np.all(np.abs(drawn.mean(0) - share) < 4 * error)


@pytest.mark.parametrize('relaxed', [0.0, 0.25, 1.0])
def test_a_choice_has_the_gradient_of_a_softmax(choice, relaxed):
  """At the logits and the noise of the draw, not at the logits alone.

  Relaxed it is that softmax, by so much.
  """
  noise, value = jnp.float32([[0.3, -1, 2, -0.2], [1, 2, 3, 4]])
  gumbel = stats.gumbel_r.ppf(stats.norm.cdf(noise))

  def drawn(logits):
    return densities.sample(Categorical(logits), noise, relaxed)

  def worth(logits):
    return jnp.sum(value * drawn(logits))

  share = jax.nn.softmax(choice[0].logits + gumbel)
  hard = jax.nn.one_hot(jnp.argmax(share), 4)
  np.testing.assert_allclose(
    drawn(choice[0].logits),
    relaxed * share + (1 - relaxed) * hard,
    rtol=1e-4,
    atol=1e-6,
  )
  expected = share * (value - jnp.sum(share * value))
  found = jax.grad(worth)(choice[0].logits)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('far', [-30.0, 30.0])
def test_noise_far_out_chooses_something(choice, far):
  drawn = densities.sample(choice[0], jnp.full(4, far).at[1].set(0.0))
  np.testing.assert_allclose(np.sort(drawn), [0, 0, 0, 1], atol=1e-6)


def test_divergences_of_a_choice_are_scipy_s(choice):
  q, p = choice
  shares = np.exp(q.logits), np.exp(p.logits)
  kl = densities.kl(q, p)
  np.testing.assert_allclose(kl.sum(), stats.entropy(*shares), rtol=1e-5)
  np.testing.assert_array_equal(densities.kl(q, q), 0)
  one = jnp.float32([0, 0, 0, 1])
  np.testing.assert_allclose(
    densities.log_prob(q, one), [0, 0, 0, np.log(shares[0][3])], rtol=1e-5
  )


def test_a_latent_of_choices_is_summed_by_step_and_by_choice():
  """2 scenes, 3 steps, one of 5 cells and one of 4 codes."""
  rng = np.random.default_rng(0)

  def some():
    sizes = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 3, 4))
    logits = (jax.nn.log_softmax(jnp.float32(x)) for x in sizes)
    return Choices(*map(Categorical, logits))

  q, p = some(), some()
  each = [
    np.asarray(densities.kl(*pair).sum(-1)) for pair in zip(q, p, strict=True)
  ]
  steps = densities.kl_of_steps(q, p, 1)
  np.testing.assert_allclose(steps, each[0] + each[1], rtol=1e-5)
  channels = densities.kl_of_channels(q, p, 1)
  expected = np.stack([x.sum(1) for x in each], axis=-1)
  np.testing.assert_allclose(channels, expected, rtol=1e-5)
  z = Choices(*(jax.nn.one_hot(jnp.zeros((2, 3), int), n) for n in (5, 4)))
  ratio = sum(
    x.logits[..., 0] - y.logits[..., 0] for x, y in zip(q, p, strict=True)
  )
  found = densities.log_ratio_of_steps(q, p, z, 1)
  np.testing.assert_allclose(found, ratio, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('variance', [2.0, 0.5, 0.02])
def test_image_log_prob_is_scipy_s(variance):
  mean, frames = np.random.default_rng(5).random((2, 4, 8, 8, 3))
  expected = stats.norm.logpdf(frames, mean, np.sqrt(variance))
  actual = densities.image_log_prob(
    jnp.float32(mean), jnp.float32(frames), variance
  )
  np.testing.assert_allclose(actual, expected.sum((1, 2, 3)), rtol=1e-5)


def test_the_head_s_log_variance_is_clipped():
  head = jnp.float32([7, -7, 0, 3, -50, -9, 3, 50])
  normal = densities.from_head(head)
  np.testing.assert_array_equal(normal.mean, [7, -7, 0, 3])
  # Half of a log-variance in [-10, 4] is a log standard deviation.
  np.testing.assert_array_equal(normal.log_std, [-5, -4.5, 1.5, 2])


def test_a_log_variance_comes_back_over_its_bound():
  """The value is clipped, the gradient is not."""
  low, high = densities.LOG_VARIANCE_RANGE
  rho = np.array([low - 5, 0.5, high + 5], np.float32)
  normal = densities.normal(jnp.zeros(3), jnp.asarray(rho))
  np.testing.assert_allclose(normal.log_std, [low / 2, 0.25, high / 2])
  grad = jax.grad(lambda r: jnp.sum(densities.normal(r, r).log_std))(rho)
  np.testing.assert_allclose(grad, 0.5)
