r"""Measures what it takes to reach frame t, for the models of a comparison.

  python experiments/jump.py --config=configs/comparison.py:preset=small \
      --out=runs/jump/jump.jsonl
  python experiments/figures.py --jump=runs/jump/jump.jsonl --out=figures

Context is frames 0 to 5; drawn is frame t alone, and all frames from 6 to t.
Parameters are fresh, as time depends on shapes alone. Every timing is one of a
round over all models, frames and modes; run it on an idle machine. Writes a
JSON line per model, frame and mode, once all is measured.
"""

from absl import flags
from ml_collections import ConfigDict, config_flags

from cgqn_jax import cli
from cgqn_jax.benchmark import jump
from cgqn_jax.comparison import runs
from cgqn_jax.files import try_file, write_jsonl

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Experiment: configs/comparison.py:preset=...'
)
_OUT = cli.path_flag('out', None, 'JSON lines file, written anew.')
_FRAMES = flags.DEFINE_string(
  'frames', '6,8,10,12,16,20,40,100', 't; videos of training end at 20.'
)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', 1, 'Scenes at once.', lower_bound=1
)
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', 1, 'Of each scene.', lower_bound=1
)
_REPEATS = flags.DEFINE_integer(
  'repeats', 20, 'Timings of each; growth needs 6.', lower_bound=1
)


def configs_of(config: ConfigDict) -> dict[str, ConfigDict]:
  """The config of each compared model, as its first run would train it."""
  # No pixel-variance is chosen here, for none changes a shape.
  variances = dict.fromkeys(runs.compared(config), ())
  found: dict[str, ConfigDict] = {}
  for run in runs.runs(config, variances):
    if run.model not in found:
      found[run.model] = cli.read_config(run.flags)
  return found


def run() -> None:
  """Reads the flags, measures, writes."""
  out = try_file(_OUT.value)
  frames = sorted(cli.parse_frames(_FRAMES.value, 'frames', 10**6))
  rows = jump.measure(
    configs_of(_CONFIG.value),
    frames,
    batch_size=_BATCH_SIZE.value,
    num_samples=_NUM_SAMPLES.value,
    repeats=_REPEATS.value,
  )
  write_jsonl(out, rows)
  print(f'wrote {out}: {len(rows)} rows')


if __name__ == '__main__':
  cli.start(run, required=('config', 'out'))
