"""Speed and memory of one config on this machine."""

from collections.abc import Callable, Iterator
import functools
import resource
import statistics
import sys
import time
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np
import optax

from cgqn_jax.benchmark import timing
from cgqn_jax.benchmark.flops import count_flops
from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import sources
from cgqn_jax.data.sources import open_source
from cgqn_jax.models.build import Model, counted
from cgqn_jax.training import loop
from cgqn_jax.training import update as update_lib
from cgqn_jax.training.update import TrainState
from cgqn_jax.types import Batch, Params, Scene

FUTURES = 30  # the paper's number of continuations of a test video
# More than the pipeline prefetches, so that what it made during the
# compilation is used up before the waiting is timed.
DRAINED = 10


def measure(
  config: ConfigDict, *, pipeline: bool = True, repeats: int = 10
) -> dict[str, Any]:
  """All numbers of one config, as they are written to --out.

  Args:
    config: as configs/*.py make it; data.max_context and data.num_targets are
      the frames of a scene that the updates see.
    pipeline: whether to run the config's input pipeline too.
    repeats: timings of which the median is taken.

  Returns:
    compile_s: of the update, tracing included.
    step_s: an update: forward, backward, optimiser; the batch is ready.
    sample_video_s: 30 futures of all frames of one video.
    flops_per_step: of an update over all devices, as `count_flops` counts,
      every convolution counted as one whatever form runs here.
    gflops_per_s: flops_per_step / step_s / 1e9.
    peak_memory_bytes: up to the last update, before any sampling: of the
      process on a CPU, else of the device that needs the most.
    data_wait_share: the share of a training loop spent waiting for its next
      batch; None without the pipeline.
    And what was measured, where and when.
  """
  model = loop.check(config)
  batches = None
  if pipeline:
    source = open_source(config, 'train')
    batches = batches_lib.training_batches(config, source)
  batch = next(batches) if batches else synthetic_batch(config)
  batch = update_lib.shard(jax.device_get(batch))

  state = update_lib.replicate(update_lib.create_state(model, config))
  update = update_lib.over_devices(update_lib.make_update(model, config))
  flops = count_flops(
    update_lib.over_devices(update_lib.make_update(counted(model), config)),
    state,
    batch,
  )
  state, compile_s, step_s = time_update(update, state, batch, repeats)
  wait_share = None
  if batches:
    state, wait_share = time_waiting(update, state, batches, repeats)
    batches.close()  # and the processes that read, if there are any
  peak = peak_memory_bytes()
  return {
    'config': sources.dataset_name(config),
    'preset': config.preset,
    'model': config.model.name,
    'parameters': optax.tree.size(state.params),
    'frame_size': config.data.frame_size,
    'batch_size': config.batch_size,
    'context': config.data.max_context,
    'targets': config.data.num_targets,
    'compile_s': compile_s,
    'step_s': step_s,
    'sample_video_s': time_sampling(model, state.params, config, repeats),
    'flops_per_step': flops,
    'gflops_per_s': flops / step_s / 1e9,
    'peak_memory_bytes': peak,
    'data_wait_share': wait_share,
    **timing.circumstances(),
  }


def synthetic_batch(config: ConfigDict) -> Batch:
  """Noise in the shapes of training, where there is no dataset."""
  count, size = config.batch_size, config.data.frame_size
  context, targets = config.data.max_context, config.data.num_targets
  rng = np.random.default_rng(config.seed)

  def scene(frames: int) -> Scene:
    shape = (count, frames, size, size, 3)
    views = rng.random((count, frames, config.data.view_size), np.float32)
    return Scene(rng.integers(0, 256, shape, np.uint8), views)

  return Batch(
    context=scene(context),
    context_mask=np.ones((count, context), bool),
    target=scene(targets),
    target_mask=np.ones((count, targets), bool),
    weight=np.ones(count, np.float32),
    example_id=np.arange(count, dtype=np.int32),
  )


def time_update(
  update: Callable, state: TrainState, batch: Batch, repeats: int
) -> tuple[TrainState, float, float]:
  """The state after all updates, seconds to compile, seconds per update."""
  seconds = []
  for _ in range(1 + timing.WARM_UP + repeats):
    (state, _), taken = timing.timed(update, state, batch)
    seconds.append(taken)
  step_s = statistics.median(seconds[-repeats:])
  return state, max(seconds[0] - step_s, 0.0), step_s


def time_waiting(
  update: Callable,
  state: TrainState,
  batches: Iterator[Batch],
  repeats: int,
) -> tuple[TrainState, float]:
  """The state, and the share of the loop that `next(batches)` takes.

  The loop is the trainer's: an update is dispatched, then the metrics of the
  one before it are waited for.
  """
  waited, metrics = 0.0, None
  for step in range(DRAINED + repeats):
    if step == DRAINED:
      jax.block_until_ready(metrics)
      began, waited = time.perf_counter(), 0.0
    start = time.perf_counter()
    batch = update_lib.shard(next(batches))
    waited += time.perf_counter() - start
    previous = metrics
    state, metrics = update(state, batch)
    jax.block_until_ready(previous)
  jax.block_until_ready(metrics)
  return state, waited / (time.perf_counter() - began)


def time_sampling(
  model: Model, params: Params, config: ConfigDict, repeats: int
) -> float:
  """Seconds to draw 30 futures of all frames of one video."""
  scenes = synthetic_batch(config)
  context, mask = jax.tree.map(
    lambda x: x[:1], (scenes.context, scenes.context_mask)
  )
  views = np.linspace(0, 1, config.data.num_frames, dtype=np.float32)
  views = np.tile(views[None, :, None], (1, 1, config.data.view_size))
  context = Scene(context.frames, views[:, : config.data.max_context])
  sample = jax.jit(functools.partial(model.sample, num_samples=FUTURES))
  arguments = (params, jax.random.key(config.seed), context, mask, views)
  call = functools.partial(sample, *jax.device_put(arguments))
  return timing.median_seconds(call, repeats)


def peak_memory_bytes() -> int:
  """Bytes of this process on a CPU, else of the device that used the most."""
  if jax.default_backend() != 'cpu':
    devices = jax.local_devices()
    return max(d.memory_stats()['peak_bytes_in_use'] for d in devices)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else peak * 1024  # else in KiB
