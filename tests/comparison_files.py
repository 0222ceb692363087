"""Folders of finished runs, as experiments/compare.py leaves them, made up."""

from collections.abc import Callable
import json
import pathlib

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.comparison import runs as runs_lib
from cgqn_jax.comparison import trials
from configs import dice

VERSIONS = dict.fromkeys(('python', 'jax', 'flax', 'commit', 'device'), 'none')


def dice_metrics(negative_elbo: float, kl_1: float, kl_3: float) -> dict:
  """What tables of consistency ask of dice; the oracle gains 8 nats."""
  return {
    'negative_elbo': negative_elbo, 'kl_1': kl_1, 'kl_3': kl_3, 'kl': kl_3,
    'kl_1_share': kl_1 / 4, 'kl_3_share': kl_3 / 4.5,
    'kl_3_factored_share': kl_3 / 12, 'oracle_kl_1': 4.0, 'oracle_kl_3': 4.5,
    'oracle_kl_factored': 12.0, 'oracle_negative_joint': -3000.0,
    'oracle_negative_factored': -2992.0, 'oracle_gain': 8.0,
    'standard_errors': {'negative_elbo': 2.5},
  }  # fmt: skip


def video_metrics(best: float) -> dict:
  """Metrics of videos; the last frame, repeated, scores 0.011."""
  return {
    'best_of_1': best + 0.002, 'best_of_30': best, 'negative_elbo': -1300.0,
    'kl': 5.0, 'copy_last_frame': 0.011, 'pixel_mean': 0.004,
    'oracle_best_of_30': 0.0001,
  }  # fmt: skip


def finish(
  config: ConfigDict, run: runs_lib.Run, out: pathlib.Path, metrics: dict
) -> None:
  """A trained and evaluated run: 4 points, metrics as given at the last.

  The one of seed 0 validates best.
  """
  workdir, last = out / run.name, config.num_steps
  steps = [last // 4, last // 2, 3 * last // 4, last]
  for step in steps:
    (workdir / 'checkpoints' / str(step)).mkdir(parents=True)
  rooms = 'kl_1' in metrics
  protocol = {
    'task': 'dice' if rooms else 'videos', 'model': run.model,
    'dataset': 'dice/default' if rooms else 'narratives/traveling_salesman',
    'split': 'test', 'step': last, 'num_scenes': config.evaluation.num_scenes,
    'num_samples': 30, 'num_draws': 16, 'seed': 0, 'frame_size': 32,
    'pixel_variance': run.variance or 0.12, 'context': [0, 1, 2, 3, 4, 5],
    'hidden_frames': 15, 'num_targets': 4,
  }  # fmt: skip
  result = {
    'metrics': metrics, 'protocol': protocol, 'versions': VERSIONS,
    'date': '2020-01-02',
  }  # fmt: skip
  for name in (runs_lib.METRICS, runs_lib.VALIDATION):
    (workdir / name).parent.mkdir()
    (workdir / name).write_text(json.dumps(result))
  names = [n for n in metrics if n in ('negative_elbo', 'kl', 'best_of_30')]
  # Scenes of one spread around the metrics; the same ones for all runs.
  hard = np.linspace(-1e-3, 1e-3, 50)
  np.savez(
    workdir / runs_lib.PER_SCENE,
    example_id=np.arange(50),
    **{name: metrics[name] + hard for name in names},
  )
  points = [
    {'step': step, 'train_seconds': 100.0 * step / last}
    | {'negative_elbo_error': 2.0}
    | {name: metrics[name] * (2 - step / last) for name in names}
    for step in steps
  ]
  curve = {
    'num_steps': last, 'points': points, 'parameters': 1000,
    'flops_per_update': 10**9, 'asked': runs_lib.asked(config, run),
    'evaluated': runs_lib.evaluated(workdir),
    'protocol': protocol | {'num_scenes': 200, 'num_draws': 4},
  }  # fmt: skip
  (workdir / runs_lib.CURVE).write_text(json.dumps(curve))
  losses = {last // 2: -1e6, last: -10.0 + run.seed}
  rows = [
    {'step': step, 'split': 'validation', 'loss': loss}
    for step, loss in losses.items()
  ]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (workdir / 'metrics.jsonl').write_text(text)


def finish_trial(
  config: ConfigDict, run: runs_lib.Run, out: pathlib.Path, score: float | None
) -> None:
  """A trial at its end; one without a score diverged."""
  workdir = out / run.name
  if score is None:
    workdir.mkdir(parents=True)
    runs_lib.record_divergence(config, run, out)
    return
  (workdir / 'checkpoints' / str(run.num_steps)).mkdir(parents=True)
  result = {'metrics': {'best_of_30': score}, 'protocol': {'split': '...'}}
  (workdir / runs_lib.VALIDATION).parent.mkdir()
  (workdir / runs_lib.VALIDATION).write_text(json.dumps(result))
  assert runs_lib.state(config, run, out) == 'trained, not evaluated'
  trials.record(config, run, out)


def experiment(
  config: ConfigDict,
  out: pathlib.Path,
  metrics: Callable[[runs_lib.Run], dict],
  unfinished: tuple[str, ...] = (),
) -> list[runs_lib.Run]:
  """All runs of a config finished, but for some."""
  preset = dice.get_config('preset=small,networks=draw')
  values = dict.fromkeys(config.models, preset.pixel_variance['values'])
  runs = runs_lib.runs(config, values)
  for run in runs:
    if run.name not in unfinished:
      finish(config, run, out, metrics(run))
  return runs
