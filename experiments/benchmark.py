r"""Measures speed and memory of one config on this machine.

  python experiments/benchmark.py --config=configs/narratives.py \
      --config.batch_size=8 --context=6 --targets=4 --out=runs/benchmark.jsonl

Prints a table and, with --out, appends it as one JSON line. Every number is
of one process that does nothing else: run it on an idle machine. With
--data=synthetic no dataset is needed and the waiting for data is not measured.
"""

from collections.abc import Callable, Iterator
import functools
import json
import pathlib
import resource
import statistics
import sys
import time
from typing import Any

from absl import flags
import jax
from ml_collections import ConfigDict, config_flags
import numpy as np
import optax

from cgqn_jax import cli
from cgqn_jax.benchmark import timing
from cgqn_jax.benchmark.flops import count_flops
from cgqn_jax.data import batches as batches_lib
from cgqn_jax.models import convolutions
from cgqn_jax.models.build import build
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
  update_lib.check_batch_size(config.batch_size)
  batches_lib.check_protocol(config)
  model = build(config)
  batches = batches_lib.training_batches(config) if pipeline else None
  batch = next(batches) if batches else synthetic_batch(config)
  batch = update_lib.shard(jax.device_get(batch))

  state = update_lib.replicate(update_lib.create_state(model, config))
  update = update_lib.over_devices(update_lib.make_update(model, config))
  with convolutions.plain_convolutions():
    # A function of its own: what is traced here must not be what runs.
    counted = update_lib.over_devices(update_lib.make_update(model, config))
    flops = count_flops(counted, state, batch)
  state, compile_s, step_s = time_update(update, state, batch, repeats)
  wait_share = None
  if batches:
    state, wait_share = time_waiting(update, state, batches, repeats)
    batches.close()  # and the processes that read, if there are any
  peak = peak_memory_bytes()
  return {
    'config': f'{config.dataset}/{config.data.config}',
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
  """The state after all updates, seconds to compile, seconds an update."""
  seconds = []
  for _ in range(1 + timing.WARM_UP + repeats):
    (state, _), its = timing.timed(update, state, batch)
    seconds.append(its)
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
  model: Any, params: Params, config: ConfigDict, repeats: int
) -> float:
  """Seconds to draw 30 futures of all frames of one video."""
  context, frames = config.data.max_context, config.data.num_frames
  size = config.data.frame_size
  views = np.linspace(0, 1, frames, dtype=np.float32)
  views = np.tile(views[None, :, None], (1, 1, config.data.view_size))
  scene = Scene(
    np.zeros((1, context, size, size, 3), np.uint8), views[:, :context]
  )
  mask = np.ones((1, context), bool)
  sample = jax.jit(functools.partial(model.sample, num_samples=FUTURES))
  key = jax.random.key(config.seed)
  arguments = jax.device_put((params, key, scene, mask, views))
  return timing.median_seconds(sample, *arguments, repeats=repeats)


def peak_memory_bytes() -> int:
  """Of this process on a CPU, else of the device that has used the most."""
  if jax.default_backend() != 'cpu':
    devices = jax.local_devices()
    return max(d.memory_stats()['peak_bytes_in_use'] for d in devices)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else peak * 1024  # else in KiB


def table(row: dict[str, Any]) -> str:
  """The row for people."""
  wait = row['data_wait_share']
  cells = {
    'config': f'{row["config"]}, preset {row["preset"]}, {row["model"]}',
    'parameters': f'{row["parameters"]:,}',
    'frames': f'{row["frame_size"]}x{row["frame_size"]}',
    'batch': f'{row["batch_size"]} scenes of {row["context"]} context and '
    f'{row["targets"]} target frames',
    'device': f'{row["devices"]} x {row["device"]}',
    'compile': f'{row["compile_s"]:.1f} s',
    'update': f'{row["step_s"]:.4g} s',
    f'{FUTURES} futures of a video': f'{row["sample_video_s"]:.4g} s',
    'operations an update': f'{row["flops_per_step"] / 1e9:.4g} GFLOP',
    'speed of an update': f'{row["gflops_per_s"]:.4g} GFLOP/s',
    'peak memory': f'{row["peak_memory_bytes"] / 2**30:.2f} GiB',
    'waiting for data': 'not measured' if wait is None else f'{wait:.1%}',
  }
  width = max(map(len, cells))
  return '\n'.join(f'{name:<{width}}  {cell}' for name, cell in cells.items())


def append(path: str, row: dict[str, Any]) -> None:
  """One more line of JSON; the folder is made if need be."""
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with open(path, 'a', encoding='utf-8') as file:
    file.write(json.dumps(row) + '\n')


def set_frames(
  config: ConfigDict, context: int | None, targets: int | None
) -> None:
  """Has every training scene show `context` frames and ask for `targets`."""
  if context is not None:
    config.data.min_context = config.data.max_context = context
    config.data.context_window = max(config.data.context_window, context)
    config.data.any_context_share = 0.0
  if targets is not None:
    config.data.num_targets = targets


def run() -> None:
  """Reads the flags, measures, prints and appends."""
  options = flags.FLAGS
  config = options.config
  set_frames(config, options.context, options.targets)
  # A compilation read from a cache would take no time.
  jax.config.update('jax_enable_compilation_cache', False)
  row = measure(
    config, pipeline=options.data == 'pipeline', repeats=options.repeats
  )
  print(table(row))
  if options.out:
    append(options.out, row)


def define_flags() -> None:
  """Not at import: another program's --config may be defined by then."""
  config_flags.DEFINE_config_file(
    'config',
    None,
    'Config, with its arguments: configs/narratives.py:preset=...',
  )
  flags.DEFINE_integer(
    'context', None, "Context frames a scene; by default the config's most."
  )
  flags.DEFINE_integer(
    'targets', None, "Target frames a scene; by default the config's."
  )
  flags.DEFINE_enum(
    'data',
    'pipeline',
    ['pipeline', 'synthetic'],
    "The config's input pipeline, or noise without any waiting.",
  )
  flags.DEFINE_integer(
    'repeats', 10, 'Timings of which the median is taken.', lower_bound=1
  )
  flags.DEFINE_string('out', None, 'JSON lines file to append to.')


if __name__ == '__main__':
  define_flags()
  cli.start(run, required=('config',))
