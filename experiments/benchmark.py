r"""Measures speed and memory of one config on this machine.

  python experiments/benchmark.py --config=configs/narratives.py \
      --config.batch_size=8 --context=6 --targets=4 --out=runs/benchmark.jsonl

Prints a table and, with --out, appends it as one JSON line. Every number is
of one process that does nothing else: run it on an idle machine. With
--data=synthetic no dataset is needed and the waiting for data is not measured.
"""

from typing import Any

from absl import flags
import jax
from ml_collections import ConfigDict, config_flags

from cgqn_jax import cli, fields, files
from cgqn_jax.benchmark.update import FUTURES, measure

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'With its arguments: configs/narratives.py:preset=...'
)
_CONTEXT = flags.DEFINE_integer(
  'context', None, "Context frames per scene; by default the config's most."
)
_TARGETS = flags.DEFINE_integer(
  'targets', None, "Target frames per scene; by default the config's."
)
_DATA = flags.DEFINE_enum(
  'data',
  'pipeline',
  ['pipeline', 'synthetic'],
  "The config's input pipeline, or noise without any waiting.",
)
_REPEATS = flags.DEFINE_integer(
  'repeats', 10, 'Timings of which the median is taken.', lower_bound=1
)
_OUT = cli.path_flag('out', None, 'JSON lines file to append to.')


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
    'operations per update': f'{row["flops_per_step"] / 1e9:.4g} GFLOP',
    'speed of an update': f'{row["gflops_per_s"]:.4g} GFLOP/s',
    'peak memory': f'{row["peak_memory_bytes"] / 2**30:.2f} GiB',
    'waiting for data': 'not measured' if wait is None else f'{wait:.1%}',
  }
  width = max(map(len, cells))
  return '\n'.join(f'{name:<{width}}  {cell}' for name, cell in cells.items())


def set_frames(
  config: ConfigDict, context: int | None, targets: int | None
) -> None:
  """Has every training scene show `context` frames and ask for `targets`."""
  if context is not None:
    config.data.min_context = config.data.max_context = context
    if 'context_window' in config.data:  # of videos
      config.data.context_window = max(config.data.context_window, context)
      config.data.any_context_share = 0.0
  if targets is not None:
    config.data.num_targets = targets


def run() -> None:
  """Reads the flags, measures, prints and appends."""
  config = _CONFIG.value
  fields.check(config)
  if _OUT.value:
    files.try_file(_OUT.value)
  set_frames(config, _CONTEXT.value, _TARGETS.value)
  # A compilation read from a cache would take no time.
  jax.config.update('jax_enable_compilation_cache', False)
  pipeline = _DATA.value == 'pipeline'
  row = measure(config, pipeline=pipeline, repeats=_REPEATS.value)
  print(table(row), flush=True)
  if _OUT.value:
    files.append_jsonl(_OUT.value, row)


if __name__ == '__main__':
  cli.start(run, required=('config',))
