r"""Scores a trained model on held-out scenes: one table, one JSON, one sheet.

  python experiments/evaluate.py --workdir=W

Writes W/eval/metrics.json, W/eval/samples.png and, for intervals over scenes,
W/eval/per_scene.npz. Every number carries its protocol. The simulator judges
the samples of narratives whose futures can be counted, and of dice; beside each
score stands what trivial and perfect predictors get.
"""

from absl import flags

from cgqn_jax import cli
from cgqn_jax.comparison import scores
from cgqn_jax.data import sources
from cgqn_jax.evaluation import tasks
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.files import try_folder
from cgqn_jax.training.workdir import checkpoint_step, load

_WORKDIR = cli.path_flag('workdir', None, 'Folder of a training.')
_SPLIT = flags.DEFINE_enum(
  'split', 'test', ['validation', 'test'], 'Choose on one, report the other.'
)
_STEP = cli.step_flag()
flags.DEFINE_integer(
  'num_scenes', 1000, 'First scenes of the split.', lower_bound=1
)
flags.DEFINE_integer(
  'num_samples', 100, 'Samples of each scene.', lower_bound=1
)
flags.DEFINE_integer(
  'num_draws', 16, 'Posterior draws of the bounds.', lower_bound=1
)
flags.DEFINE_integer('batch_size', 10, 'Scenes at once.', lower_bound=1)
cli.seed_flag('Of all noise.')
_SOURCE = cli.source_flag()
_DATA_PATH = cli.data_path_flag()
_CONTEXT = flags.DEFINE_string(
  'context', None, 'Frames of a video that the model sees, as 0,5 or 0:6.'
)
_OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Evaluate again even if this evaluation is there.'
)
_OUT = cli.path_flag(
  'out', None, 'Folder of the results; by default <workdir>/eval.'
)


def run() -> None:
  """Reads the flags, evaluates, prints and writes; or says that it is done."""
  workdir = _WORKDIR.value
  if _OUT.value:
    try_folder(_OUT.value)
  step = checkpoint_step(workdir, _STEP.value)
  model, params, config = load(workdir, step)
  sources.look_elsewhere(config, _SOURCE.value, _DATA_PATH.value)
  if _CONTEXT.value is not None:
    frames = cli.parse_frames(_CONTEXT.value, 'context', config.data.num_frames)
    tasks.for_config(config).see(config, frames)
  source = sources.open_source(config, _SPLIT.value)
  names = ('num_scenes', 'num_samples', 'num_draws', 'batch_size', 'seed')
  asked = {name: flags.FLAGS[name].value for name in names}
  protocol = tasks.protocol(config, source, step, asked)
  out = _OUT.value or workdir / 'eval'
  subject = Subject(model, params, config, source, protocol)
  scores.evaluate(subject, out, _OVERWRITE.value)


if __name__ == '__main__':
  cli.start(run, required=('workdir',))
