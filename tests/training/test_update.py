"""The update: never past a NaN, averaged, and the same for the same seed."""

import chex
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.training import update as update_lib
from cgqn_jax.training.update import AXIS


@pytest.fixture(scope='module')
def config(make_config):
  config = make_config()
  config.ema_decay = 0.9
  return config


def test_the_same_seed_gives_the_same_parameters(model, config):
  states = []
  for seed in (0, 0, 1):
    config = ConfigDict(config)
    config.seed = seed
    states.append(jax.device_get(update_lib.create_state(model, config)))
  chex.assert_trees_all_equal(states[0], states[1])
  chex.assert_trees_all_equal(states[0].ema_params, states[0].params)
  kernel = [s.params['draw']['prior_lstm']['kernel'] for s in states]
  assert not np.any(kernel[0] == kernel[2])
  # 1 / sqrt(fan in), which is 3 x 3 x (5 + 2 + 4).
  assert abs(kernel[0].std() * np.sqrt(99) - 1) < 0.05
  assert states[0].step == 0


class Stub:
  """A model with one weight, whose loss a test gives."""

  def __init__(self, loss, weight: float):
    self._loss, self._weight = loss, weight

  def init(self, key):
    del key
    return {'weight': jnp.float32(self._weight)}

  def loss(self, params, key, batch, step):
    del key
    loss = self._loss(params['weight'], batch, step)
    return loss, {'loss': loss}


def run_stub(config, loss, weight=1.0, batches=(0.0,) * 4):
  """Updates of one device, a scalar a batch; all states and metrics."""
  model = Stub(loss, weight)
  state = update_lib.create_state(model, config)
  update = jax.vmap(
    update_lib.make_update(model, config),
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None),
  )
  rows = [(state, None)]
  for batch in batches:
    rows.append(jax.jit(update)(rows[-1][0], jnp.float32([batch])))
  return rows


@pytest.mark.parametrize(
  ('loss', 'weight'),
  [
    # Finite loss, infinite gradient.
    (lambda w, batch, step: jnp.sqrt(w) + 0 * batch, 0.0),
    # Infinite loss, finite gradient.
    (lambda w, batch, step: w**2 + jnp.exp(batch + 1000), 1.0),
  ],
)
def test_neither_loss_nor_gradient_may_be_infinite(config, loss, weight):
  value, gradient = jax.value_and_grad(loss)(weight, 0.0, 0)
  assert np.isfinite(value) != np.isfinite(gradient)
  (first, _), *_, (last, metrics) = run_stub(config, loss, weight)
  assert metrics['skipped'] == 4
  chex.assert_trees_all_equal(last.params, first.params)
  chex.assert_trees_all_equal(
    last.opt_state.inner_state, first.opt_state.inner_state
  )


def test_one_bad_update_does_not_hinder_the_next(config):
  def loss(weight, batch, step):
    del step
    return weight**2 * batch

  good = run_stub(config, loss, batches=(1.0, 2.0))
  mixed = run_stub(config, loss, batches=(1.0, np.nan, 2.0))
  chex.assert_trees_all_equal(mixed[-1][0].params, good[-1][0].params)
  chex.assert_trees_all_equal(
    mixed[-1][0].opt_state.inner_state, good[-1][0].opt_state.inner_state
  )
  assert [int(m['skipped']) for _, m in mixed[1:]] == [0, 1, 1]
  assert mixed[-1][0].step == 3


def test_average_of_the_parameters(config):
  rows = run_stub(config, lambda w, batch, step: w**2 + batch)
  average = 1.0
  for n, (state, _) in enumerate(rows[1:]):
    weight = max(0.1, 9 / (10 + n))
    average += weight * (float(state.params['weight']) - average)
    np.testing.assert_allclose(state.ema_params['weight'], average, rtol=1e-6)
    assert update_lib.evaluation_params(state) is state.ema_params
  assert abs(average - float(rows[-1][0].params['weight'])) > 5e-5
  off = ConfigDict(config)
  off.ema_decay = 0.0
  state = run_stub(off, lambda w, batch, step: w**2 + batch)[-1][0]
  assert state.ema_params is None
  assert update_lib.evaluation_params(state) is state.params


def test_an_unknown_optimizer_is_refused(config):
  config = config.copy_and_resolve_references()
  config.optimizer.name = 'sgd'
  with pytest.raises(ValueError) as error:
    update_lib.make_optimizer(config)
  assert str(error.value) == (
    "optimizer.name is 'sgd'; it must be 'adam' or 'muon'"
  )


def test_learning_rate_and_clip(config):
  """Linear to a tenth over 1,600,000 of 400,000 steps, scaled to 2,000."""
  config = ConfigDict(config)
  config.num_steps = 500
  rows = run_stub(config, lambda w, batch, step: 1e4 * w + batch, 1.0)
  for n, (_, metrics) in enumerate(rows[1:]):
    rate = 5e-4 - 4.5e-4 * n / 2000
    np.testing.assert_allclose(metrics['update_norm'], rate, rtol=1e-4)
    np.testing.assert_allclose(metrics['gradient_norm'], 1e4, rtol=1e-6)
  moment = rows[1][0].opt_state.inner_state[1][0].mu['weight']
  np.testing.assert_allclose(moment, 0.1 * 10, rtol=1e-5)
