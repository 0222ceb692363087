"""KL and gain of the oracle where they are known, and of models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cgqn_jax.evaluation import dice_judge
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.models import densities
from cgqn_jax.models.build import build
from cgqn_jax.types import Elbo

KEY = jax.random.key(1)


@pytest.fixture(scope='module')
def renders() -> np.ndarray:
  """100 digits in 3 views, which differ a little."""
  rng = np.random.default_rng(0)
  base = rng.integers(60, 190, (1, 3, 8, 8, 3))
  noise = rng.integers(-40, 41, (100, 3, 8, 8, 3))
  return (base + noise).astype(np.uint8)


def test_the_limits(renders):
  """ln 100 and 2 ln 100 without pixel noise, nothing under much of it."""
  clear = dice_judge.oracle(renders, renders[7], 1e-5)
  log = np.log(100)
  assert clear.kl_1 == pytest.approx(log, abs=1e-9)
  assert clear.kl_3 == pytest.approx(log, abs=1e-9)
  assert clear.kl_factored == pytest.approx(3 * log, abs=1e-9)
  assert clear.gain == pytest.approx(2 * log, abs=1e-9)
  blind = dice_judge.oracle(renders, renders[7], 1e6)
  for value in (blind.kl_1, blind.kl_3, blind.kl_factored, blind.gain):
    assert 0 <= value + 1e-9 < 1e-6


def test_between_the_limits(renders):
  """Less noise, more nats; under much noise KL_3 is over 3 times KL_1."""
  each = [
    dice_judge.oracle(renders, renders[7], variance)
    for variance in (1.0, 0.7, 0.5, 0.35)
  ]
  for noisy, clear in zip(each[:-1], each[1:], strict=True):
    assert noisy.kl_1 < clear.kl_1 < clear.kl_3
    assert noisy.kl_3 < clear.kl_3 < np.log(100)
    assert noisy.gain < clear.gain < 2 * np.log(100)
  assert each[0].kl_3 > 10 * each[0].kl_1
  assert 1 < each[-1].kl_1 and each[-1].kl_3 < 3 * each[-1].kl_1


def test_two_digits_by_hand():
  """They differ by 51 in one value of each view: 0.2 on [0, 1]."""
  renders = np.full((2, 3, 4, 4, 3), 100, np.uint8)
  renders[1, :, 0, 0, 0] += 51
  variance = 0.01
  found = dice_judge.oracle(renders, renders[0], variance)

  def kl(exponent):
    p = 1 / (1 + np.exp(-exponent))
    return np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p)

  half = 0.2**2 / (2 * variance)
  assert found.kl_1 == pytest.approx(kl(half))
  assert found.kl_3 == pytest.approx(kl(3 * half))
  assert found.kl_factored == pytest.approx(3 * kl(half))
  constant = 3 * 48 / 2 * np.log(2 * np.pi * variance)
  joint = np.log((1 + np.exp(-3 * half)) / 2)
  factored = 3 * np.log((1 + np.exp(-half)) / 2)
  assert found.joint == pytest.approx(joint - constant)
  assert found.factored == pytest.approx(factored - constant)
  assert found.gain == pytest.approx(joint - factored)


def test_the_likelihood_is_that_of_the_models(renders):
  """With one digit to choose from, joint and factored are its density."""
  found = dice_judge.oracle(renders[:1], renders[5], 0.3)
  mean, frames = (jnp.asarray(x / 255, jnp.float32) for x in renders[[0, 5]])
  expected = densities.image_log_prob(mean, frames, 0.3).sum()
  assert found.joint == pytest.approx(float(expected), rel=1e-5)
  assert found.factored == pytest.approx(found.joint)
  assert (found.kl_1, found.kl_3) == (pytest.approx(0), pytest.approx(0))


class Counter:
  """A "model" whose KL is a number of nats per target: 1, 10 and 100."""

  def elbo(self, params, key, batch, pixel_variance):
    del params, key
    nats = jnp.array([[1.0, 10.0, 100.0]])
    kl = jnp.sum(jnp.where(batch.target_mask, nats, 0.0), 1)
    return Elbo(0 * kl - pixel_variance, kl, kl)


def subject(model, params=None) -> Subject:
  protocol = {'pixel_variance': 1.0, 'num_draws': 2}
  return Subject(model, params, None, None, protocol)


def test_kl_1_sees_the_first_target_alone(make_batch):
  of = subject(Counter())
  assert of.bounds_of_first(KEY, make_batch()).kl.tolist() == [1, 1, 1]
  assert of.bounds(KEY, make_batch()).kl.tolist() == [111, 111, 111]


def divergences(config, make_params, batch) -> np.ndarray:
  """KL of each target alone, then of all: [4, B]."""
  model = build(config)
  of, rows = subject(model, make_params(model)), []
  for keep in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]):
    some = batch._replace(target_mask=batch.target_mask & np.array(keep, bool))
    rows.append(of.bounds(KEY, some).kl)
  one = of.bounds_of_first(KEY, batch).kl
  np.testing.assert_allclose(one, rows[0], rtol=1e-5)
  return np.array(rows)


def test_a_factored_model_pays_for_every_view(
  make_config, make_params, make_batch
):
  """GQN's KL_3 is the sum of its three KL_1; CGQN's is not."""
  batch = make_batch()
  *each, together = divergences(make_config(name='gqn'), make_params, batch)
  np.testing.assert_allclose(sum(each), together, rtol=1e-5)
  assert np.all(np.array(each) > 0.01)
  *each, together = divergences(make_config(), make_params, batch)
  assert np.all(np.abs(sum(each) / together - 1) > 0.02)
