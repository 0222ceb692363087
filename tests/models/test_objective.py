"""The bound by hand and by SciPy; schedules to the step."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cgqn_jax.models import objective, schedules
from cgqn_jax.types import Batch, Normal, Scene

SIZE = 4 * 4 * 3


@pytest.fixture(scope='module')
def case() -> dict:
  """2 scenes of 3 targets, K = 2: all that `elbo` takes but the variance."""
  rng = np.random.default_rng(0)
  latent = (2, 2, 2, 2, 3)  # [B, K, h, w, Z]

  def draw(*shape, scale=1.0):
    return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)

  scene = Scene(
    jnp.asarray(rng.integers(0, 256, (2, 3, 4, 4, 3), dtype=np.uint8)),
    draw(2, 3, 1),
  )
  batch = Batch(
    context=scene,
    context_mask=jnp.ones((2, 3), bool),
    target=scene,
    target_mask=jnp.ones((2, 3), bool),
    weight=jnp.ones(2),
    example_id=jnp.arange(2),
  )
  return {
    'mean': draw(2, 3, 4, 4, 3),
    'batch': batch,
    'z': draw(*latent),
    'posterior': Normal(draw(*latent), draw(*latent, scale=0.3)),
    'prior': Normal(draw(*latent), draw(*latent, scale=0.3)),
  }


def loss_and_metrics(case: dict, variance: float = 0.5, **changes):
  case = case | {'batch': case['batch']._replace(**changes)}
  bound = objective.elbo(**case, pixel_variance=jnp.float32(variance))
  names = ('mean', 'batch', 'posterior', 'prior')
  return objective.loss_and_metrics(
    bound, *(case[name] for name in names), jnp.float32(variance)
  )


def test_elbo_is_scipy_s(case):
  bound = objective.elbo(**case, pixel_variance=0.7)
  frames = np.asarray(case['batch'].target.frames) / 255
  expected = stats.norm.logpdf(frames, case['mean'], np.sqrt(0.7))
  np.testing.assert_allclose(
    bound.log_likelihood, expected.sum((1, 2, 3, 4)), rtol=1e-5
  )
  q, p = case['posterior'], case['prior']
  ratio = stats.norm.logpdf(case['z'], q.mean, np.exp(q.log_std))
  ratio -= stats.norm.logpdf(case['z'], p.mean, np.exp(p.log_std))
  np.testing.assert_allclose(
    bound.log_ratio, ratio.sum((1, 2, 3, 4)), rtol=1e-5, atol=1e-4
  )
  ratio = np.exp(q.log_std - p.log_std)
  shift = (q.mean - p.mean) / np.exp(p.log_std)
  kl = (ratio**2 + shift**2 - 1) / 2 - np.log(ratio)
  np.testing.assert_allclose(bound.kl, kl.sum((1, 2, 3, 4)), rtol=1e-5)


def test_loss_is_the_negative_bound_in_nats(case):
  loss, metrics = loss_and_metrics(case)
  bound = objective.elbo(**case, pixel_variance=0.5)
  expected = np.mean(bound.kl - bound.log_likelihood)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  np.testing.assert_array_equal(metrics['loss'], loss)
  np.testing.assert_allclose(
    metrics['kl'] - metrics['log_likelihood'], loss, rtol=1e-6
  )
  # The KL's two break-downs are of the KL, and not of the bound.
  assert metrics['kl_per_step'].shape == (2,)
  assert metrics['kl_per_channel'].shape == (3,)
  for name in 'kl_per_step', 'kl_per_channel':
    np.testing.assert_allclose(metrics[name].sum(), metrics['kl'], rtol=1e-5)
  frames = np.asarray(case['batch'].target.frames) / 255
  mse = np.mean((frames - case['mean']) ** 2)
  np.testing.assert_allclose(metrics['mse'], mse, rtol=1e-5)


def test_loss_without_the_constant_is_squares_and_kl(case):
  for variance in (2.0, 0.1):
    metrics = loss_and_metrics(case, variance)[1]
    squares = 3 * SIZE * metrics['mse'] / (2 * variance)
    expected = squares + metrics['kl']
    actual = metrics['loss_no_constant']
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    constant = 3 * SIZE / 2 * np.log(2 * np.pi * variance)
    np.testing.assert_allclose(metrics['loss'] - actual, constant, rtol=1e-4)


def test_padded_targets_and_scenes_count_for_nothing(case):
  target = case['batch'].target
  mask = np.array([[True, True, False], [True, True, True]])
  junk = target._replace(frames=target.frames.at[0, 2].set(7))
  kept = loss_and_metrics(case, target_mask=mask)[1]
  changed = loss_and_metrics(case, target_mask=mask, target=junk)[1]
  everything = loss_and_metrics(case)[1]
  for name, value in kept.items():
    np.testing.assert_array_equal(changed[name], value, err_msg=name)
  frames = np.asarray(target.frames) / 255
  logs = stats.norm.logpdf(frames, case['mean'], np.sqrt(0.5)).sum((2, 3, 4))
  expected = (logs * mask).sum(1).mean()
  np.testing.assert_allclose(kept['log_likelihood'], expected, rtol=1e-5)
  assert abs(expected - everything['log_likelihood']) > 1
  # Of two scenes, the second only fills up the batch.
  weighted = loss_and_metrics(case, weight=jnp.float32([1, 0]))[1]
  np.testing.assert_allclose(
    weighted['log_likelihood'], logs[0].sum(), rtol=1e-5
  )
  with_constant = weighted['loss'] - weighted['loss_no_constant']
  constant = 3 * SIZE / 2 * np.log(np.pi)
  np.testing.assert_allclose(with_constant, constant, rtol=1e-4)


# The paper's of narratives and of dice; half a wave up and half a wave down.
LINEAR = ((0, 0.25), (2.0, 0.5), 'linear')
CONSTANT = ((0, 0.25, 0.375, 0.5), (2.0, 0.2, 0.4, 0.9), 'constant')
COSINE = ((0, 0.25, 1), (0.0, 1.0, 0.2), 'cosine')


@pytest.mark.parametrize(
  ('arguments', 'tolerance', 'values'),
  [
    (LINEAR, 5e-7, {0: 2.0, 1: 2 - 1.5e-5, 50_000: 1.25, 99_999: 0.500015,
              100_000: 0.5, 399_999: 0.5}),
    (CONSTANT, 0, {0: 2.0, 99_999: 2.0, 100_000: 0.2, 149_999: 0.2,
                   150_000: 0.4, 199_999: 0.4, 200_000: 0.9, 400_000: 0.9}),
    # Flat at all ends: 1 % of the way is a four-thousandth of the height.
    (COSINE, 4e-7, {0: 0.0, 1_000: 2.467e-4, 25_000: 0.1464466, 50_000: 0.5,
              99_000: 1 - 2.467e-4, 100_000: 1.0, 103_000: 1 - 0.8 * 2.467e-4,
              175_000: 1 - 0.8 * 0.1464466, 250_000: 0.6,
              397_000: 0.2 + 0.8 * 2.467e-4, 400_000: 0.2, 500_000: 0.2}),
    (((0,), (0.3,), 'cosine'), 0, {0: 0.3, 4_000: 0.3}),
  ],
)  # fmt: skip
def test_schedules(arguments, tolerance, values):
  """To the step of 400,000; of a run of another length, at the same share."""
  schedule = schedules.schedule(*arguments, 400_000)
  double = schedules.schedule(*arguments, 800_000)
  for step, value in values.items():
    actual, expected = schedule(step), np.float32(value)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(double(jnp.int32(2 * step)), actual)
