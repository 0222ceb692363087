"""The update: the same on any number of devices, and never past a NaN."""

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.training import update as update_lib
from cgqn_jax.training.update import AXIS, TrainState
from cgqn_jax.types import to_unit


@pytest.fixture(scope='module')
def config(make_config):
  config = make_config()
  config.ema_decay = 0.9
  return config


@pytest.fixture(scope='module')
def batch(make_batch):
  """4 scenes, ragged contexts; float32, so that a frame can hold a NaN."""
  batch = make_batch(4)
  batch.context_mask[:] = np.arange(4) < np.array([[4], [0], [2], [3]])
  frames = np.asarray(to_unit(jnp.asarray(batch.target.frames)))
  return batch._replace(target=batch.target._replace(frames=frames))


@pytest.fixture(scope='module')
def start(params, config):
  """A function that makes the first state, on the host: it may be donated."""

  def make() -> TrainState:
    optimizer = update_lib.make_optimizer(config)
    opt_state = jax.tree.map(np.array, jax.jit(optimizer.init)(params))
    averaged = jax.tree.map(np.copy, params)
    return TrainState(np.zeros((), np.int32), params, opt_state, averaged)

  return make


@pytest.fixture(scope='module')
def over_devices(model, config):
  """The compiled update over the four devices."""
  return update_lib.over_devices(update_lib.make_update(model, config))


@pytest.fixture(scope='module')
def after(over_devices, start, batch):
  """State and metrics after one update over the four devices."""
  assert jax.local_device_count() == 4
  out = over_devices(start(), update_lib.shard(batch))
  assert_replicas_are_equal(out)  # `out_axes=None` shows one of them
  return jax.device_get(out)


def assert_replicas_are_equal(tree) -> None:
  """Every leaf is on every device, the same to the bit."""
  for leaf in jax.tree.leaves(tree):
    first, *others = (np.asarray(x.data) for x in leaf.addressable_shards)
    assert len(others) == 3 and first.shape == leaf.shape
    assert {x.tobytes() for x in others} == {first.tobytes()}


def assert_same_update(one, other, tolerance=2e-6):
  """Equal to the rounding of float32, in parameters and both moments."""
  (state, metrics), (other_state, other_metrics) = one, other
  assert jax.tree.structure(state) == jax.tree.structure(other_state)
  for name in 'loss', 'kl', 'log_likelihood', 'mse', 'gradient_norm':
    np.testing.assert_allclose(metrics[name], other_metrics[name], rtol=2e-5)
  # Adam divides by the gradient's size, so that it is the update (5e-4 at
  # most) and not the gradient that is compared in absolute terms.
  chex.assert_trees_all_close(state, other_state, rtol=1e-4, atol=tolerance)


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


def test_an_update_moves_every_parameter(after, start):
  state, metrics = after
  assert state.step == 1 and metrics['skipped'] == 0
  for old, new in zip(
    jax.tree.leaves(start().params), jax.tree.leaves(state.params), strict=True
  ):
    moved = np.abs(new - old)
    # Adam's first step is the learning rate, in the gradient's direction;
    # a few ReLUs of the encoder are dead.
    assert 4e-4 < moved.max() < 5.01e-4 and np.mean(moved > 4e-4) > 0.3
  # The loss is per scene: it does not grow with devices or batch.
  frames = 3 * 16 * 16 * 3
  assert 0.5 * frames < metrics['loss'] < 2 * frames


def test_one_device_and_four_give_the_same(model, config, start, batch, after):
  update = jax.pmap(
    update_lib.make_update(model, config),
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None),
    devices=jax.devices()[:1],
  )
  whole = jax.tree.map(lambda x: x[None], batch)
  assert_same_update(jax.device_get(update(start(), whole)), after)


def test_shard_map_gives_the_same(model, config, start, batch, after):
  """pmap's successor; with check_vma=True the gradients are 4 times these."""
  replicated, split = PartitionSpec(), PartitionSpec(AXIS)
  update = jax.shard_map(
    update_lib.make_update(model, config),
    mesh=Mesh(np.array(jax.devices()), (AXIS,)),
    in_specs=(replicated, split),
    out_specs=replicated,
    check_vma=False,
  )
  out = jax.jit(update)(start(), batch)
  assert_replicas_are_equal(out)
  assert_same_update(jax.device_get(out), after)


def test_order_of_the_batch_does_not_matter(over_devices, start, batch, after):
  """Noise is of the example, wherever it is computed."""
  order = np.array([2, 0, 3, 1])
  moved = jax.tree.map(lambda x: x[order], batch)
  out = jax.device_get(over_devices(start(), update_lib.shard(moved)))
  assert_same_update(out, after)
  other = batch._replace(example_id=batch.example_id + 1)
  metrics = jax.device_get(over_devices(start(), update_lib.shard(other))[1])
  assert abs(metrics['kl'] - after[1]['kl']) > 1e-3


def test_a_nan_is_skipped_and_counted(over_devices, start, batch):
  """In one pixel of one device's scenes, in two updates in a row."""
  bad = jax.tree.map(np.copy, batch)
  bad.target.frames[3, 1, 5, 5, 0] = np.nan
  state = start()
  for count in (1, 2):
    state, metrics = over_devices(state, update_lib.shard(bad))
    state, metrics = jax.device_get((state, metrics))
    assert metrics['skipped'] == metrics['skipped_in_a_row'] == count
    assert not np.isfinite(metrics['loss']) and metrics['update_norm'] == 0
    assert state.step == count
    chex.assert_trees_all_equal(state.params, start().params)
    chex.assert_trees_all_equal(
      state.opt_state.inner_state, start().opt_state.inner_state
    )
  state, metrics = over_devices(state, update_lib.shard(batch))
  state, metrics = jax.device_get((state, metrics))
  assert (metrics['skipped'], metrics['skipped_in_a_row']) == (2, 0)
  assert metrics['update_norm'] > 0 and state.step == 3


def test_loss_falls(over_devices, start, batch):
  """On one batch, over 40 updates with a constant variance."""
  state, losses = start(), []
  for _ in range(40):
    state = state._replace(step=np.full((), 10, np.int32))
    state, metrics = jax.device_get(
      over_devices(state, update_lib.shard(batch))
    )
    losses.append(metrics['loss_no_constant'])
  assert np.all(np.diff(losses) < 0) and losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
def test_seeds_at_once_are_single_updates(
  backend, model, config, start, batch, after, monkeypatch
):
  """Over four devices, one after the other (CPU) or batched (others)."""
  update = update_lib.over_devices(
    update_lib.over_seeds(
      update_lib.make_update(model, config), (config.seed, 7)
    )
  )
  states = jax.tree.map(lambda x: np.stack([x, x]), start())
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  batches = update_lib.shard_seeds([batch, batch])
  out = jax.device_get(update(update_lib.replicate(states), batches))
  mine, other = (jax.tree.map(lambda x, i=i: x[i], out) for i in (0, 1))
  assert_same_update(mine, after)
  assert abs(other[1]['kl'] - mine[1]['kl']) > 1e-3  # noise of its own


def test_an_update_compiles_once(over_devices, start, batch):
  """Replicated as the update gives it back, the state is no new case."""
  shares = update_lib.shard(batch)
  state, _ = over_devices(update_lib.replicate(start()), shares)
  events = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: events.append(name)
  )
  state, _ = over_devices(state, shares)
  assert not any('backend_compile' in name for name in events)
  # On the host, as before, it is one: the test can fail.
  over_devices(jax.tree.map(jnp.array, start()), shares)
  assert any('backend_compile' in name for name in events)


@pytest.mark.parametrize(('size', 'advice', 'use'), [(6, 4, 3), (3, 4, 3)])
def test_batch_size_must_divide_by_the_devices(size, advice, use):
  """A run that is resumed cannot take another, so that is said too."""
  update_lib.check_batch_size(8)
  message = f'batch_size is {size}; .* 4 devices. .*batch_size={advice};'
  message += f' one that is resumed keeps its own, on {use} devices'
  with pytest.raises(ValueError, match=message):
    update_lib.check_batch_size(size)


class Stub:
  """A model with one weight, whose loss a test gives."""

  def __init__(self, loss, weight: float):
    self._loss, self._weight = loss, weight

  def init(self, key):
    del key
    return {'weight': jnp.float32(self._weight)}

  def loss(self, params, key, batch, step):
    del key, step
    loss = self._loss(params['weight'], batch)
    return loss, {'loss': loss}


def run_stub(config, loss, weight=1.0):
  """Four updates of one device; all states and metrics."""
  model = Stub(loss, weight)
  state = update_lib.create_state(model, config)
  update = jax.vmap(
    update_lib.make_update(model, config),
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None),
  )
  rows = [(state, None)]
  for _ in range(4):
    rows.append(jax.jit(update)(rows[-1][0], jnp.float32([0])))
  return rows


@pytest.mark.parametrize(
  ('loss', 'weight'),
  [
    # Finite loss, infinite gradient.
    (lambda w, batch: jnp.sqrt(w) + 0 * batch, 0.0),
    # Infinite loss, finite gradient.
    (lambda w, batch: w**2 + jnp.exp(batch + 1000), 1.0),
  ],
)
def test_neither_loss_nor_gradient_may_be_infinite(config, loss, weight):
  value, gradient = jax.value_and_grad(loss)(weight, 0.0)
  assert np.isfinite(value) != np.isfinite(gradient)
  (first, _), *_, (last, metrics) = run_stub(config, loss, weight)
  assert metrics['skipped'] == 4
  chex.assert_trees_all_equal(last.params, first.params)
  chex.assert_trees_all_equal(
    last.opt_state.inner_state, first.opt_state.inner_state
  )


def test_average_of_the_parameters(config):
  rows = run_stub(config, lambda w, batch: w**2 + batch)
  average = 1.0
  for n, (state, _) in enumerate(rows[1:]):
    weight = max(0.1, 9 / (10 + n))
    average += weight * (float(state.params['weight']) - average)
    np.testing.assert_allclose(state.ema_params['weight'], average, rtol=1e-6)
    assert update_lib.evaluation_params(state) is state.ema_params
  assert abs(average - float(rows[-1][0].params['weight'])) > 5e-5
  off = ConfigDict(config)
  off.ema_decay = 0.0
  state = run_stub(off, lambda w, batch: w**2 + batch)[-1][0]
  assert state.ema_params is None
  assert update_lib.evaluation_params(state) is state.params


def test_learning_rate_and_clip(config):
  """Linear to a tenth over 1,600,000 of 400,000 steps, scaled to 2,000."""
  config = ConfigDict(config)
  config.num_steps = 500
  rows = run_stub(config, lambda w, batch: 1e4 * w + batch)
  for n, (_, metrics) in enumerate(rows[1:]):
    rate = 5e-4 - 4.5e-4 * n / 2000
    np.testing.assert_allclose(metrics['update_norm'], rate, rtol=1e-4)
    np.testing.assert_allclose(metrics['gradient_norm'], 1e4, rtol=1e-6)
  moment = rows[1][0].opt_state.inner_state[1][0].mu['weight']
  np.testing.assert_allclose(moment, 0.1 * 10, rtol=1e-5)
