"""The tables of `experiments/evaluate.py`: numbers beside their anchors.

Nothing of the paper. A table says how its numbers came about: split, scenes,
update, seed, pixel-variance, samples and draws.
"""

import functools
import textwrap
from typing import Any

from cgqn_jax.evaluation import dice_judge
from cgqn_jax.evaluation import videos as videos_lib


def videos(metrics: dict[str, Any], protocol: dict[str, Any]) -> str:
  """Errors of hidden frames, the judge's scores, the bounds.

  Where the simulator does not judge, one line says why.
  """
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

  cell = functools.partial(_cell, metrics)

  for n in videos_lib.best_of(p['num_samples']):
    oracle = cell(f'oracle_best_of_{n}', 1e3)
    lines.append(f'  best of {n:<24}{cell(f"best_of_{n}", 1e3)}{oracle}')
  lines += [
    f'  {"copy nearest frame seen":32}{cell("copy_nearest_frame", 1e3)}',
    f'  {"copy last frame seen":32}{cell("copy_last_frame", 1e3)}',
  ]
  if not p['unjudged']:
    label = 'pixel-mean of possible futures'
    lines.append(f'  {label:32}{cell("pixel_mean", 1e3)}')
  lines += [*_by_frame(metrics, p), '', *_judged(metrics, p), '']
  lines += [
    f'{"nats a scene":34}{"model":>9}{"oracle":>9}',
    f'  {"KL":32}{cell("kl")}{cell("oracle_kl")}',
    '',
    f'best sample (of {p["num_samples"]}): PSNR {cell("best_psnr").strip()} dB,'
    f' SSIM {cell("best_ssim").strip()}; all samples: PSNR '
    f'{cell("mean_psnr").strip()} dB, mean squared difference of two '
    f'{cell("diversity", 1e3).strip()}e-3',
    f'bounds over {p["num_targets"]} hidden frames a scene at pixel-variance '
    f'{p["pixel_variance"]:g}, {p["num_draws"]} draws:',
    f'  negative ELBO {metrics["negative_elbo"]:.2f} nats a scene, '
    f'{metrics["negative_elbo_per_target"]:.2f} a target; '
    f'importance-weighted {metrics["negative_importance_weighted"]:.2f}',
    f'  {metrics["bits_per_dimension"]:.4f} bits per dimension (density on '
    '[0, 1] put on the 8-bit scale, no dequantisation)',
  ]
  return '\n'.join(lines)


def _by_frame(metrics: dict[str, Any], p: dict[str, Any]) -> list[str]:
  """The mean over samples, frame by frame."""
  errors = metrics['mean_mse_by_frame']
  every = range(len(p['context']) + len(errors))
  hidden = [i for i in every if i not in p['context']]
  # No-break spaces keep a frame and its error on one line.
  cells = [
    f'F{i + 1}\xa0{error * 1e3:.2f}'
    for i, error in zip(hidden, errors, strict=True)
  ]
  text = f'mean of all samples by frame: {", ".join(cells)}'
  wrapped = textwrap.wrap(text, 78, subsequent_indent='  ')
  return [f'  {line}'.replace('\xa0', ' ') for line in wrapped]


def _judged(metrics: dict[str, Any], p: dict[str, Any]) -> list[str]:
  """What the simulator says of samples, or why it says nothing."""
  if p['unjudged']:
    return [f'no pixel-mean, valid, covered: {p["unjudged"]}']
  cell = functools.partial(_cell, metrics)
  return [
    f'{"the simulator as judge":34}{"model":>9}{"oracle":>9}',
    f'  {"valid samples, share":32}{cell("validity")}{1:9.3f}',
    f'  {"futures covered in 30 samples":32}{cell("valid_modes")}'
    f'{cell("oracle_modes")}',
    f'  {"  invalid samples counted too":32}{cell("modes")}',
    f'  {"total variation to uniform":32}{cell("total_variation")}'
    f'{cell("oracle_total_variation")}',
    f'  {"frames that agree, share":32}{cell("agreement")}{1:9.3f}',
  ]


def dice(metrics: dict[str, Any], protocol: dict[str, Any]) -> str:
  """Bounds, consistency in nats, and what the judge reads in samples."""
  p = protocol
  cell = functools.partial(_cell, metrics)
  best = videos_lib.best_of(p['num_samples'])[-1]
  errors = metrics.get('standard_errors', {})
  lines = [
    f'{p["model"]} on {p["dataset"]}, {p["split"]} split: '
    f'{p["num_scenes"]} scenes, {p["frame_size"]}x{p["frame_size"]}, '
    f'update {p["step"]:,}, seed {p["seed"]}',
    f'context: {p["context"]}; judged: {p["hidden_frames"]} views of the '
    f'fourth; {p["num_samples"]} samples',
    f'a scene; {p["num_draws"]} posterior draws at pixel-variance '
    f'{p["pixel_variance"]:g}',
    '',
    f'{"nats a scene (standard error)":36}{"model":>9}{"":10}{"oracle":>9}'
    f'{"factored":>9}',
  ]
  for label, name, *anchors in (
    ('KL_1, of 1 view', 'kl_1', 'oracle_kl_1', 'oracle_kl_1'),
    ('KL_3, of 3 views', 'kl_3', 'oracle_kl_3', 'oracle_kl_factored'),
    (
      'negative ELBO of 3 views',
      'negative_elbo',
      'oracle_negative_joint',
      'oracle_negative_factored',
    ),
  ):
    error = f'({errors[name]:.2f})' if name in errors else ''
    oracles = ''.join(cell(anchor, form='9.2f') for anchor in anchors)
    its = cell(name, form='9.2f')
    lines.append(f'  {label:34}{its}{error:>10}{oracles}')
  lines += [
    f'  {"KL_3 / KL_1":34}{cell("kl_ratio", form="9.2f")}{"":10}'
    f'{cell("oracle_kl_ratio", form="9.2f")}'
    f'{cell("oracle_kl_factored_ratio", form="9.2f")}',
    f'  fresh weights: KL_1 {cell("untrained_kl_1", form=".2f")}, '
    f'KL_3 {cell("untrained_kl_3", form=".2f")}, '
    f'ratio {cell("untrained_kl_ratio", form=".2f")}',
    f"  KL_1 is {metrics['kl_1_share']:.0%} of the oracle's, KL_3 "
    f'{metrics["kl_3_share"]:.0%} of it and '
    f"{metrics['kl_3_factored_share']:.0%} of the factored one's;",
    f'  one digit for all views is worth {metrics["oracle_gain"]:.2f} nats to '
    'the oracle',
    '',
    f'{"the simulator as judge":36}{"model":>9}{"truth":>9}{"blur":>9}'
    f'{"chance":>9}',
  ]
  for label, metric in (
    ('legible views, share', 'legible'),
    ('legible in all views, share', 'legible_thrice'),
    ('  of these one digit, share', 'legible_agreement'),
    ('same digit in all views, share', 'agreement'),
    ('  and nearer than a blur', 'legible_agreement_blur'),
    ('same class in all views, share', 'class_agreement'),
    ('distance to the nearest digit', 'legibility_error'),
  ):
    others = ''.join(cell(f'{which}_{metric}') for which in ('truth', 'blur'))
    chance = cell(f'chance_{metric}', form='9.4f')
    lines.append(f'  {label:34}{cell(metric)}{others}{chance}')
  draws = min(dice_judge.DRAWS, p['num_samples'])
  title = f'coverage of {draws} samples, in a view'
  lines.append(f'{title:36}{"model":>9}{"ideal":>9}')
  for label, metric, ideal in (
    ('digits in legible views', 'legible_digits', 'digits'),
    ('digits', 'digits', 'digits'),
    ('classes', 'classes', 'classes'),
    ('total variation of classes', *['class_total_variation'] * 2),
  ):
    lines.append(f'  {label:34}{cell(metric)}{cell(f"oracle_{ideal}")}')
  lines += [
    '',
    f'MSE of hidden views x 1e-3: mean {cell("best_of_1", 1e3).strip()}, best '
    f'of {best} {cell(f"best_of_{best}", 1e3).strip()}',
    f'importance-weighted bound '
    f'{metrics["negative_importance_weighted"]:.2f} nats; '
    f'{metrics["bits_per_dimension"]:.4f} bits per dimension',
    '  (density on [0, 1] put on the 8-bit scale, no dequantisation)',
  ]
  return '\n'.join(lines)


def _cell(
  metrics: dict[str, Any], name: str, scale: float = 1.0, form: str = '9.3f'
) -> str:
  value = metrics.get(name)
  return f'{"-":>9}' if value is None else f'{value * scale:{form}}'
