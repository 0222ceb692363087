r"""Scores a trained model on held-out scenes: one table, one JSON, one sheet.

  python experiments/evaluate.py --workdir=W

Writes W/eval/metrics.json and W/eval/samples.png. Every number carries its
protocol. The simulator judges the samples of narratives whose futures can be
counted; beside each score stands what trivial and perfect predictors get.
"""

import datetime
import json
import pathlib
import sys
from typing import Any

from absl import app, flags, logging

from cgqn_jax import models, pictures, scoring, sources
from cgqn_jax.workdir import replace_text, versions

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
  ['tfds', 'simulator', 'folder'],
  'Read scenes from here instead of where training read them.',
)
_OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Evaluate again even if this evaluation is there.'
)
_OUT = flags.DEFINE_string(
  'out', None, 'Folder of the results; by default <workdir>/eval.'
)


def table(metrics: dict[str, Any], protocol: dict[str, Any]) -> str:
  """The numbers beside their anchors, and how they came about."""
  p = protocol
  lines = [
    f'{p["model"]} on {p["dataset"]}, {p["split"]} split: '
    f'{p["num_scenes"]} scenes, {p["frame_size"]}x{p["frame_size"]}, '
    f'update {p["step"]:,}, seed {p["seed"]}',
    f'context: frames {p["context"]} (from 0); judged: the '
    f'{p["hidden_frames"]} others, jointly; {p["num_samples"]} samples a scene',
    '',
    f'{"MSE of hidden frames x 1e-3":34}{"model":>9}{"oracle":>9}',
  ]

  def cell(name: str, scale: float = 1.0, form: str = '9.3f') -> str:
    value = metrics.get(name)
    return f'{"-":>9}' if value is None else f'{value * scale:{form}}'

  for n in scoring.best_of(p['num_samples']):
    oracle = cell(f'oracle_best_of_{n}', 1e3)
    lines.append(f'  best of {n:<24}{cell(f"best_of_{n}", 1e3)}{oracle}')
  lines += [
    f'  {"copy last frame":32}{cell("copy_last_frame", 1e3)}',
    f'  {"pixel-mean of possible futures":32}{cell("pixel_mean", 1e3)}',
    '',
    f'{"the simulator as judge":34}{"model":>9}{"oracle":>9}',
    f'  {"valid samples, share":32}{cell("validity")}{1:9.3f}',
    f'  {"frames that agree, share":32}{cell("agreement")}{1:9.3f}',
    f'  {"futures covered in 30 samples":32}{cell("modes")}'
    f'{cell("oracle_modes")}',
    f'  {"  of these by valid samples":32}{cell("valid_modes")}',
    f'  {"total variation to uniform":32}{cell("total_variation")}'
    f'{cell("oracle_total_variation")}',
    '',
    f'best sample (of {p["num_samples"]}): PSNR {cell("best_psnr").strip()} dB,'
    f' SSIM {cell("best_ssim").strip()}; all samples: PSNR '
    f'{cell("mean_psnr").strip()} dB, mean squared difference of two '
    f'{cell("diversity", 1e3).strip()}e-3',
    f'bounds over {p["num_targets"]} hidden frames a scene at pixel-variance '
    f'{p["pixel_variance"]:g}, {p["num_draws"]} draws:',
    f'  negative ELBO {metrics["negative_elbo"]:.2f} nats a scene, '
    f'{metrics["negative_elbo_per_target"]:.2f} a target; '
    f'importance-weighted {metrics["negative_importance_weighted"]:.2f}; '
    f'KL {metrics["kl"]:.2f}',
    f'  {metrics["bits_per_dimension"]:.4f} bits per dimension (density on '
    '[0, 1] put on the 8-bit scale, no dequantisation)',
  ]
  return '\n'.join(lines)


def run() -> None:
  """Reads the flags, evaluates, prints and writes; or says that it is done."""
  step = models.parse_step(_STEP.value)
  workdir = pathlib.Path(_WORKDIR.value)
  model, params, config = models.load(workdir, step)
  if _SOURCE.value:
    config.data.source = _SOURCE.value
  hidden = config.data.num_frames - len(config.data.test_context)
  num_scenes = len(sources.open_source(config, _SPLIT.value))
  protocol = {
    'model': config.model.name,
    'dataset': f'{config.dataset}/{config.data.config}',
    'source': config.data.source,
    'split': _SPLIT.value,
    'step': models.checkpoint_step(workdir, step),
    'num_scenes': min(_NUM_SCENES.value, num_scenes),
    'num_samples': _NUM_SAMPLES.value,
    'num_draws': _NUM_DRAWS.value,
    'batch_size': _BATCH_SIZE.value,
    'seed': _SEED.value,
    'frame_size': config.data.frame_size,
    'context': list(config.data.test_context),
    'hidden_frames': hidden,
    'num_targets': min(config.data.num_targets, hidden),
    'pixel_variance': float(model.pixel_variance(config.num_steps)),
  }
  out = pathlib.Path(_OUT.value or workdir / 'eval')
  path = out / 'metrics.json'
  if path.exists() and not _OVERWRITE.value:
    there = json.loads(path.read_text())
    if there.get('protocol') == protocol:
      print(table(there['metrics'], protocol))
      print(f'\nthis evaluation was already in {path}')
      return
  metrics, sheet = scoring.evaluate(model, params, config, protocol)
  out.mkdir(parents=True, exist_ok=True)
  pictures.save_png(out / 'samples.png', sheet)
  result = {
    'metrics': metrics,
    'protocol': protocol,
    'versions': versions(),
    'date': datetime.date.today().isoformat(),
  }
  replace_text(path, json.dumps(result, indent=2) + '\n')
  print(table(metrics, protocol))
  print(f'\nwrote {path} and {out / "samples.png"}')


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {" ".join(argv[1:])}')
  logging.set_verbosity(logging.WARNING)  # TFDS and JAX report at length
  try:
    run()
  except ValueError as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['workdir'])
  app.run(main)
