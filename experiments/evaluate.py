r"""Scores a trained model on held-out scenes: one table, one JSON, one sheet.

  python experiments/evaluate.py --workdir=W

Writes W/eval/metrics.json, W/eval/samples.png and, for intervals over scenes,
W/eval/per_scene.npz. Every number carries its protocol. The simulator judges
the samples of narratives whose futures can be counted, and of dice; beside each
score stands what trivial and perfect predictors get.
"""

import datetime
import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import cli, images
from cgqn_jax.data import batches, protocols, sources
from cgqn_jax.evaluation import (
  dice,
  dice_judge,
  narrative_judge,
  videos,
)
from cgqn_jax.files import read_json, write_json
from cgqn_jax.models.sequential import check_sequential
from cgqn_jax.training.workdir import (
  checkpoint_step,
  load,
  parse_step,
  versions,
)

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a training.')
_SPLIT = flags.DEFINE_enum(
  'split', 'test', ['validation', 'test'], 'Choose on one, report the other.'
)
_STEP = flags.DEFINE_string(
  'step', 'best', "Checkpoint: a number, 'latest' or 'best'."
)
_NUM_SCENES = flags.DEFINE_integer(
  'num_scenes', 1000, 'First scenes of the split.', lower_bound=1
)
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', 100, 'Samples of each scene.', lower_bound=1
)
_NUM_DRAWS = flags.DEFINE_integer(
  'num_draws', 16, 'Posterior draws of the bounds.', lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', 10, 'Scenes at once.', lower_bound=1
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of all noise.')
_SOURCE = flags.DEFINE_enum(
  'source',
  None,
  ['tfds', 'simulator', 'folder', 'gqn'],
  'Read scenes from here instead of where training read them.',
)
_CONTEXT = flags.DEFINE_string(
  'context', None, 'Frames of a video that the model sees, as 0,5 or 0:6.'
)
_OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Evaluate again even if this evaluation is there.'
)
_OUT = flags.DEFINE_string(
  'out', None, 'Folder of the results; by default <workdir>/eval.'
)


def _judged(config: ConfigDict) -> dict[str, Any]:
  """The part of a protocol that says which frames are judged, and how."""
  if config.data.protocol == 'hidden_side':
    seen = f'{protocols.TEST_CONTEXT} views of three sides'
    hidden = protocols.TEST_TARGETS
    its = {'context': seen, 'hidden_frames': hidden, 'num_targets': hidden}
    return its | {'read_variance': dice_judge.READ_VARIANCE}
  hidden = config.data.num_frames - len(config.data.test_context)
  why = videos.unjudged(config)
  return {
    'context': list(config.data.test_context),
    'hidden_frames': hidden,
    'num_targets': min(config.data.num_targets, hidden),
    'unjudged': why,
    # Evaluations by another limit are made again.
    'valid_below': None if why else narrative_judge.VALID_BELOW,
  }


def see(config: ConfigDict, text: str) -> None:
  """Makes these frames the context; ValueError if the model cannot."""
  its = config.data
  if its.protocol == 'hidden_side':
    raise ValueError(
      '--context is of videos; the context of dice shows three sides of four'
    )
  frames = cli.parse_frames(text, 'context', its.num_frames)
  its.test_context = tuple(frames)
  if its.protocol == 'sequence':
    times = np.array(frames).reshape((1, -1, 1)) / (its.num_frames - 1)
    check_sequential(times, times, its.num_frames, queries=True)
    if len(frames) > its.max_context:
      raise ValueError(
        f'--context={text} has {len(frames)} frames; {config.model.name} was '
        f'trained on {its.max_context} and reads no more'
      )
    its.max_context, its.num_targets = len(frames), its.num_frames - len(frames)
  batches.check_protocol(config)


def run() -> None:
  """Reads the flags, evaluates, prints and writes; or says that it is done."""
  step = parse_step(_STEP.value)
  workdir = pathlib.Path(_WORKDIR.value)
  model, params, config = load(workdir, step)
  if _SOURCE.value:
    config.data.source = _SOURCE.value
  if _CONTEXT.value is not None:
    see(config, _CONTEXT.value)
  scorer, table = videos, videos.report
  if config.data.protocol == 'hidden_side':
    scorer, table = dice, dice.report
  num_scenes = len(sources.open_source(config, _SPLIT.value))
  protocol = {
    'model': config.model.name,
    'dataset': f'{config.dataset}/{config.data.config}',
    'source': config.data.source,
    'split': _SPLIT.value,
    'step': checkpoint_step(workdir, step),
    'num_scenes': min(_NUM_SCENES.value, num_scenes),
    'num_samples': _NUM_SAMPLES.value,
    'num_draws': _NUM_DRAWS.value,
    'batch_size': _BATCH_SIZE.value,
    'seed': _SEED.value,
    'frame_size': config.data.frame_size,
    'pixel_variance': float(model.pixel_variance(config.num_steps)),
    **_judged(config),
  }
  out = pathlib.Path(_OUT.value or workdir / 'eval')
  path, arrays = out / 'metrics.json', out / 'per_scene.npz'
  if path.exists() and arrays.exists() and not _OVERWRITE.value:
    there = read_json(path)
    if there.get('protocol') == protocol:
      print(table(there['metrics'], protocol))
      print(f'\nthis evaluation was already in {path}')
      return
  scores = scorer.evaluate(model, params, config, protocol)
  out.mkdir(parents=True, exist_ok=True)
  images.save_png(out / 'samples.png', scores.sheet)
  np.savez_compressed(arrays, **scores.per_scene)
  result = {
    'metrics': scores.metrics,
    'protocol': protocol,
    'versions': versions(),
    'date': datetime.date.today().isoformat(),
  }
  write_json(path, result)
  print(table(scores.metrics, protocol))
  print(f'\nwrote {path}, {arrays} and {out / "samples.png"}')


if __name__ == '__main__':
  cli.start(run, required=('workdir',))
