"""Folders of finished runs, as experiments/compare.py leaves them, made up."""

from collections.abc import Callable
import json
import pathlib

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.comparison import runs as runs_lib
from configs import dice

VERSIONS = {
  'python': '3.11', 'jax': '0.10', 'flax': '0.12', 'commit': 'abc',
  'device': 'cpu',
}  # fmt: skip


def dice_metrics(negative_elbo: float, kl_1: float, kl_3: float) -> dict:
  """What dice_scoring reports; the oracle's gain is 8 nats."""
  judged = ('agreement', 'class_agreement', 'legible', 'legible_thrice')
  judged += ('legible_agreement', 'legible_agreement_blur')
  covered = {'digits': 26.0, 'classes': 9.6, 'class_total_variation': 0.2}
  return {
    'negative_elbo': negative_elbo, 'kl_1': kl_1, 'kl_3': kl_3, 'kl': kl_3,
    'kl_1_share': kl_1 / 4, 'kl_3_share': kl_3 / 4.5,
    'kl_3_factored_share': kl_3 / 12, 'oracle_kl_1': 4.0, 'oracle_kl_3': 4.5,
    'oracle_kl_factored': 12.0, 'oracle_negative_joint': -3000.0,
    'oracle_negative_factored': -2992.0, 'oracle_gain': 8.0,
    'legibility_error': 0.3, 'truth_legibility_error': 0.0,
    'blur_legibility_error': 0.2,
    **{n: 0.5 for n in judged}, **{f'truth_{n}': 1.0 for n in judged},
    **{f'blur_{n}': 0.0 for n in judged}, **covered, 'legible_digits': 13.0,
    'chance_agreement': 1e-4, 'chance_class_agreement': 1e-2,
    'untrained_kl_1': 2.0, 'untrained_kl_3': 0.5 * kl_3,
    'untrained_kl_ratio': 0.25 * kl_3,
    **{f'oracle_{n}': value for n, value in covered.items()},
    'standard_errors': {'negative_elbo': 2.5},
  }  # fmt: skip


def gaining(run: runs_lib.Run) -> dict:
  """Of dice; CGQN gains 5 nats at seed 0 and 7 at seed 1, of 8."""
  if run.model == 'cgqn':
    return dice_metrics(-2990.0 - run.seed, 4.0, 4.2)
  return dice_metrics(-2985.0 + run.seed, 4.0, 11.0)


def video_metrics(best: float) -> dict:
  """What scoring reports; the last frame, repeated, scores 0.011."""
  return {
    'best_of_1': best + 0.002, 'best_of_30': best, 'negative_elbo': -1300.0,
    'kl': 5.0, 'validity': 0.1, 'validity_half': 0.3, 'modes': 4.0,
    'best_psnr': 20.0,
    'best_ssim': 0.8, 'copy_last_frame': 0.011, 'pixel_mean': 0.004,
    'oracle_best_of_1': 0.009, 'oracle_best_of_30': 0.0001,
    'oracle_modes': 5.97, 'mse_by_frame': [best, best],
  }  # fmt: skip


def per_scene(metrics: dict, scenes: int = 50) -> dict[str, np.ndarray]:
  """Scenes of one spread around the metrics; the same ones for all runs."""
  hard = np.linspace(-1e-3, 1e-3, scenes)
  arrays = {
    name: metrics[name] + hard
    for name in metrics
    if name.startswith('best_of_') or name == 'negative_elbo'
  }
  return arrays | {'example_id': np.arange(scenes)}


def finish(
  config: ConfigDict,
  run: runs_lib.Run,
  out: pathlib.Path,
  metrics: dict,
  validation_loss: float,
  seconds: float = 100.0,
) -> None:
  """A trained and evaluated run: 4 points, metrics as given at the last."""
  workdir, last = out / run.name, config.num_steps
  for folder in ('eval', 'validation'):
    (workdir / folder).mkdir(parents=True)
  steps = [last // 4, last // 2, 3 * last // 4, last]
  for step in steps:
    (workdir / 'checkpoints' / str(step)).mkdir(parents=True)
  rooms = 'kl_1' in metrics
  protocol = {
    'task': 'dice' if rooms else 'videos',
    'model': run.model, 'dataset': 'dice/default' if rooms else
    'narratives/traveling_salesman', 'split': 'test', 'step': last,
    'num_scenes': config.evaluation.num_scenes, 'num_samples': 30,
    'num_draws': 16, 'batch_size': 10, 'seed': 0, 'frame_size': 32,
    'pixel_variance': run.variance or 0.12, 'source': 'tfds',
    'context': '5 views of three sides' if rooms else [0, 1, 2, 3, 4, 5],
    'hidden_frames': 3 if rooms else 15, 'num_targets': 3 if rooms else 4,
  }  # fmt: skip
  result = {'metrics': metrics, 'protocol': protocol, 'versions': VERSIONS}
  result['date'] = '2020-01-02'
  (workdir / 'eval/metrics.json').write_text(json.dumps(result))
  (workdir / 'validation/metrics.json').write_text(json.dumps(result))
  np.savez(workdir / 'eval/per_scene.npz', **per_scene(metrics))
  names = [n for n in metrics if n in ('negative_elbo', 'kl', 'best_of_30')]
  points = [
    {'step': step, 'train_seconds': seconds * step / last}
    | {'negative_elbo_error': 2.0}
    | {name: metrics[name] * (2 - step / last) for name in names}
    for step in steps
  ]
  its = {'num_draws': 4, 'num_samples': 30, 'num_scenes': 200}
  curve = {
    'num_steps': last, 'points': points, 'parameters': 1000,
    'flops_per_update': 10**9, 'asked': runs_lib.asked(config, run),
    'evaluated': runs_lib.evaluated(workdir),
    'protocol': its | {'split': 'test', 'num_targets': 3},
  }  # fmt: skip
  (workdir / 'eval/curve.json').write_text(json.dumps(curve))
  rows = [
    {'step': last // 2, 'split': 'validation', 'loss': -1e6},
    {'step': last, 'split': 'validation', 'loss': validation_loss},
  ]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (workdir / 'metrics.jsonl').write_text(text)


def experiment(
  config: ConfigDict,
  out: pathlib.Path,
  metrics: Callable[[runs_lib.Run], dict],
  unfinished: tuple[str, ...] = (),
) -> list[runs_lib.Run]:
  """All runs of a config finished, but for some; seed 0 validates best."""
  values = dice.get_config('preset=small,networks=draw').pixel_variance[
    'values'
  ]
  values = dict.fromkeys(config.models, values)
  runs = runs_lib.runs(config, values)
  for run in runs:
    if run.name not in unfinished:
      finish(config, run, out, metrics(run), -10.0 + run.seed)
  return runs
