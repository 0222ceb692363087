"""The benchmark: its arithmetic against a fake clock, its count of FLOPs."""

import functools
import json
import types

import jax
import numpy as np
import pytest

from cgqn_jax.benchmark import timing
from cgqn_jax.benchmark import update as update_lib
from cgqn_jax.benchmark.flops import count_flops
from cgqn_jax.data import batches
from cgqn_jax.data.sources import open_source
from cgqn_jax.files import append_jsonl
from cgqn_jax.models.build import build, counted
from configs import narratives
from experiments import benchmark


def narrow_config():
  config = narratives.get_config('preset=smoke')
  config.batch_size = jax.device_count()
  config.data.source = 'simulator'
  config.model.update(
    draw_steps=2, nf_to_hidden=4, nf_enc=4, nf_to_obs=4, nf_dec=4, kernel=3
  )
  return config


@pytest.fixture
def clock(monkeypatch):
  """Stands for the module `time`."""
  fake = types.SimpleNamespace(now=0.0)
  fake.perf_counter = lambda: fake.now
  for module in (update_lib, timing):
    monkeypatch.setattr(module, 'time', fake)
  return fake


def updates(clock, lengths):
  """An update that advances the clock by these lengths."""
  left = iter(lengths)

  def update(state, batch):
    clock.now += next(left)
    return state + 1, {}

  return update


def test_update_is_the_median_after_the_warm_up(clock):
  update = updates(clock, [50.0, 9.0, 9.0, 9.0, 1.0, 7.0, 2.0])
  state, compile_s, step_s = update_lib.time_update(update, 0, None, 3)
  assert (state, compile_s, step_s) == (7, 48.0, 2.0)


def test_waiting_is_counted_once_the_prefetched_are_used_up(clock):
  def batches(lengths):
    for length in lengths:
      clock.now += length
      yield {'x': np.zeros(jax.device_count())}

  drained = update_lib.DRAINED
  update = updates(clock, [100.0] * drained + [3.0] * 5)
  waited = batches([77.0] * drained + [1.0] * 5)
  state, share = update_lib.time_waiting(update, 0, waited, 5)
  assert (state, share) == (drained + 5, 0.25)


def test_peak_memory_is_in_bytes():
  """A process with JAX in it holds more than 0.1 GiB, and fewer than 1000."""
  before = update_lib.peak_memory_bytes()
  ballast = np.ones(2**27, np.uint8)
  assert 2**27 < before <= update_lib.peak_memory_bytes() < 1000 * 2**30
  del ballast


def test_context_and_targets_set_the_shapes():
  config = narrow_config()
  benchmark.set_frames(config, context=9, targets=2)
  batch = update_lib.synthetic_batch(config)
  count = config.batch_size
  assert batch.context.frames.shape == (count, 9, 32, 32, 3)
  assert batch.target.views.shape == (count, 2, 1)
  assert batch.context_mask.all() and batch.context_mask.shape == (count, 9)
  real = next(batches.training_batches(config, open_source(config, 'train')))
  assert real.context_mask.all()
  shapes = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
  assert shapes(real) == shapes(batch)


def test_measure(tmp_path):
  config = narrow_config()
  benchmark.set_frames(config, context=2, targets=1)
  row = update_lib.measure(config, repeats=1)

  # Each device's share is one scene, and the operations of all are counted.
  model = build(config)
  config.batch_size = 1
  scene = update_lib.synthetic_batch(config)
  params = jax.eval_shape(model.init, jax.random.key(0))
  grad = jax.value_and_grad(counted(model).loss, has_aux=True)
  one = count_flops(grad, params, jax.random.key(0), scene, np.int32(0))
  assert row['flops_per_step'] == jax.device_count() * one > 0
  sizes = [np.prod(x.shape, dtype=int) for x in jax.tree.leaves(params)]
  assert row['parameters'] == sum(sizes)
  speed = row['flops_per_step'] / row['step_s'] / 1e9
  np.testing.assert_allclose(row['gflops_per_s'], speed, rtol=1e-9)
  assert row['step_s'] > 0 and row['sample_video_s'] > 0
  assert row['compile_s'] > 0
  assert 0 <= row['data_wait_share'] < 1
  assert (row['context'], row['targets']) == (2, 1)
  assert row['versions']['jax'] == jax.__version__

  path = tmp_path / 'made' / 'rows.jsonl'
  append_jsonl(path, row)
  append_jsonl(path, row)
  assert [json.loads(x) for x in path.read_text().splitlines()] == [row, row]
  assert f'{one * jax.device_count() / 1e9:.4g} GFLOP\n' in benchmark.table(row)
  unmeasured = benchmark.table(row | {'data_wait_share': None})
  assert 'not measured' in unmeasured


def test_mistakes(programs):
  cases = {
    '--targets=22': 'data.num_targets is 22; it must be 1 to 21',
    '--context=22': 'data.max_context is 22; the video has 21 frames',
    '--config.data.foo=3': 'there is no field data.foo',
  }
  config = '--config=configs/narratives.py:preset=smoke'
  source = '--config.data.source=simulator'
  results = programs(
    [['benchmark.py', config, option, source] for option in cases]
  )
  for message, done in zip(cases.values(), results, strict=True):
    assert done.code == 1 and 'Traceback' not in done.err, done
    assert message in done.err.splitlines()[-1]
