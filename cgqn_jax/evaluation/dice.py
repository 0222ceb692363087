"""All scores of a model on dice whose fourth side it has not seen.

Paper, section 4.2: the context shows three sides of the cube, three targets
show the fourth. The counterpart of `videos`, with the same interface.
"""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import images
from cgqn_jax.data import protocols, sources
from cgqn_jax.evaluation import dice_judge, sampling
from cgqn_jax.evaluation import metrics as metrics_lib
from cgqn_jax.evaluation.metrics import Column
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.simulators import dice
from cgqn_jax.types import Array, Batch

_SHOWN = 4  # scenes on the sheet, and samples of each
# Scenes that fresh weights see: their KLs differ little between scenes.
_UNTRAINED_SCENES = 20


def judged(config: ConfigDict) -> dict[str, Any]:
  """The part of a protocol that says which views are judged, and how."""
  del config
  hidden = protocols.TEST_TARGETS
  return {
    'context': f'{protocols.TEST_CONTEXT} views of three sides',
    'hidden_frames': hidden,
    'num_targets': hidden,
    'read_variance': dice_judge.READ_VARIANCE,
  }


def see(config: ConfigDict, frames: list[int]) -> None:
  """Always a ValueError: which views are context is the simulator's choice."""
  del config, frames
  raise ValueError(
    '--context is of videos; the context of dice shows three sides of four'
  )


def evaluate(subject: Subject) -> metrics_lib.Scores:
  """All scores of dice.

  Raises:
    ValueError: where the dice do not show the digits that the judge knows.
  """
  model, params, config, source, protocol = subject
  if config.data.config not in dice.STYLES:
    raise ValueError(
      f'the dice of {config.data.config!r} cannot be judged: the simulator '
      f'knows those of {", ".join(dice.STYLES)}'
    )
  classes = dice.STYLES[config.data.config].classes
  keys = jax.random.split(jax.random.key(protocol['seed']), 2)
  rows, ids, shown = [], [], []
  for batch in subject.batches('dice'):
    batch = jax.tree.map(np.asarray, batch)
    renders = possible_targets(config, source.split, batch)
    samples = sampling.draw_all(
      model, params, keys[0], batch, protocol['num_samples']
    )
    bounds = _bounds(subject, keys[1], batch)
    for b in np.flatnonzero(batch.weight):
      truth = batch.target.frames[b]
      ids.append(int(batch.example_id[b]))
      rows.append(
        {name: float(value[b]) for name, value in bounds.items()}
        | _oracle(renders[b], truth, protocol['pixel_variance'])
        | _sample_scores(samples[:, b], renders[b], truth, classes)
      )
      if len(shown) < _SHOWN:
        some, number = samples[:_SHOWN, b], len(shown)
        shown.append(_strips(batch, b, some, renders[b], classes, number))
  metrics = _summary(rows, config, protocol) | untrained(subject, keys[1])
  return metrics_lib.Scores(
    metrics,
    _sheet(shown),
    {'example_id': np.array(ids)} | metrics_lib.columns(rows),
  )


def point(subject: Subject) -> dict[str, Any]:
  """Bounds of a checkpoint, for a curve over training."""
  # The noise of the tables: the last point differs by the draws alone.
  key = jax.random.split(jax.random.key(subject.protocol['seed']), 2)[1]
  _, kl, elbo, _ = subject.all_bounds(key)
  error = elbo.std(ddof=1) / np.sqrt(len(elbo)) if len(elbo) > 1 else None
  return {
    'negative_elbo': float(-elbo.mean()),
    'negative_elbo_error': None if error is None else float(error),
    'kl': float(kl.mean()),
  }


def possible_targets(
  config: ConfigDict, split: str, batch: Batch
) -> np.ndarray:
  """A batch's targets with each digit on the hidden side: [B, D, T, ...]."""
  return dice_judge.possible_digits(
    split,
    batch.example_id,
    batch.target.views,
    batch.hidden_side,
    config.data.frame_size,
    sources.supersampling(config),
    dice.STYLES[config.data.config],
  )


def _bounds(
  subject: Subject, key: Array, batch: Batch
) -> dict[str, np.ndarray]:
  """Bounds over all targets of each scene, and the KLs of one and of all."""
  every = subject.bounds(key, batch)
  one = subject.bounds_of_first(key, batch).kl
  return {
    'negative_elbo': -every.elbo,
    'negative_importance_weighted': -every.importance_weighted,
    'kl_1': one,
    'kl_3': every.kl,
    'kl_difference': every.kl - one,
  }


def untrained(subject: Subject, key: Array) -> dict[str, float | None]:
  """KL_1, KL_3 and their ratio of fresh weights of the run's seed.

  One latent for all views has one KL term, one for each has three: what of the
  ratio is there before anything is learned.
  """
  fresh = jax.random.key(subject.config.seed)
  count = min(_UNTRAINED_SCENES, subject.protocol['num_scenes'])
  subject = subject._replace(
    params=jax.jit(subject.model.init)(fresh),
    protocol=subject.protocol | {'num_scenes': count},
  )
  rows = []
  for batch in subject.batches():
    one = subject.bounds_of_first(key, batch).kl
    every = subject.bounds(key, batch).kl
    rows.append(np.stack([one, every])[:, batch.weight > 0])
  one, three = np.concatenate(rows, axis=1).mean(1).tolist()
  return {
    'untrained_kl_1': one,
    'untrained_kl_3': three,
    'untrained_kl_ratio': _share_of(three, one),
  }


def _oracle(
  renders: np.ndarray, truth: np.ndarray, pixel_variance: float
) -> dict[str, float]:
  oracle = dice_judge.oracle(renders, truth, pixel_variance)
  return {
    'oracle_kl_1': oracle.kl_1,
    'oracle_kl_3': oracle.kl_3,
    'oracle_kl_factored': oracle.kl_factored,
    'oracle_negative_joint': -oracle.joint,
    'oracle_negative_factored': -oracle.factored,
    'oracle_gain': oracle.gain,
  }


def _sample_scores(
  samples: np.ndarray,
  renders: np.ndarray,
  truth: np.ndarray,
  classes: np.ndarray,
) -> dict[str, float]:
  """Errors of one scene's samples [S, T, H, W, 3], and what the judge says."""
  joint = np.mean((samples - truth / 255.0) ** 2, axis=(1, 2, 3, 4))
  scores = metrics_lib.best_of_scores(joint)
  scores |= dice_judge.judge(dice_judge.name(samples, renders), classes)
  return scores | dice_judge.anchors(truth, renders, classes, len(samples))


def _summary(
  rows: list[dict[str, float]], config: ConfigDict, protocol: dict[str, Any]
) -> dict[str, Any]:
  """Means over scenes, their standard errors, and what follows of them."""
  metrics = metrics_lib.average(rows)
  metrics |= {
    'kl': metrics['kl_3'],
    'kl_ratio': _share_of(metrics['kl_3'], metrics['kl_1']),
    'kl_1_share': metrics['kl_1'] / metrics['oracle_kl_1'],
    'kl_3_share': metrics['kl_3'] / metrics['oracle_kl_3'],
    'kl_3_factored_share': metrics['kl_3'] / metrics['oracle_kl_factored'],
    'oracle_kl_ratio': metrics['oracle_kl_3'] / metrics['oracle_kl_1'],
    'oracle_kl_factored_ratio': (
      metrics['oracle_kl_factored'] / metrics['oracle_kl_1']
    ),
    **metrics_lib.per_value(
      metrics['negative_elbo'],
      protocol['num_targets'],
      config.data.frame_size,
    ),
    **dice_judge.chance(len(dice.STYLES[config.data.config].digits)),
  }
  for which in ('', 'truth_'):  # a blur is never legible
    metrics[f'{which}legible_agreement'] = _share_of(
      metrics[f'{which}legible_same'], metrics[f'{which}legible_thrice']
    )
  if len(rows) > 1:
    metrics['standard_errors'] = {
      name: float(values.std(ddof=1) / np.sqrt(len(rows)))
      for name, values in metrics_lib.columns(rows).items()
    }
  return metrics


def _share_of(part: float, whole: float) -> float | None:
  """None of nothing."""
  return part / whole if whole else None


def _strips(
  batch: Batch,
  b: int,
  samples: np.ndarray,
  renders: np.ndarray,
  classes: np.ndarray,
  number: int,
) -> tuple[np.ndarray, list[str]]:
  """Rows of the sheet, context and targets.

  Labels name the nearest class in each view, in brackets if it is illegible.
  """
  context = batch.context.frames[b] / 255.0
  triples = np.concatenate([batch.target.frames[b : b + 1] / 255.0, samples])
  left = np.full((len(triples), *context.shape), np.nan)
  left[0] = context
  labels = [f'scene {number}: truth']
  labels += [f'sample {s + 1}' for s in range(len(samples))]
  names = dice_judge.name(triples, renders)
  for row, (digits, legible) in enumerate(
    zip(classes[names.digits], names.legible, strict=True)
  ):
    read = [
      f'{digit}' if clear else f'({digit})'
      for digit, clear in zip(digits, legible, strict=True)
    ]
    labels[row] += ', ' + ' '.join(read)
  return np.concatenate([left, triples], axis=1), labels


def _sheet(shown: list[tuple[np.ndarray, list[str]]]) -> np.ndarray:
  strips = np.concatenate([strips for strips, _ in shown])
  labels = [label for _, strip in shown for label in strip]
  columns = [f'seen {i + 1}' for i in range(protocols.TEST_CONTEXT)]
  columns += [f'hidden {i + 1}' for i in range(protocols.TEST_TARGETS)]
  marked = np.arange(len(columns)) < protocols.TEST_CONTEXT
  blank = np.isnan(strips[:, :, 0, 0, 0])
  return images.sheet(
    strips,
    labels,
    columns,
    context=marked & ~blank,
    block=len(shown[0][0]),
    note='Orange: seen by the model. Numbers: the digits that the simulator '
    'reads in the hidden views, in brackets where they are illegible.',
  )


def headline(rows: Sequence[Mapping[str, Any]]) -> Column:
  """The number by which runs are compared."""
  del rows
  return Column('negative ELBO', 'negative_elbo', '.2f')


def columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
  """What a table of models shows of each."""
  del rows
  return [
    Column('KL_1', 'kl_1', '.2f'),
    Column('KL_3', 'kl_3', '.2f'),
    Column('legible', 'legible', '.3f'),
    Column('same digit', 'agreement', '.3f'),
  ]


def anchors(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
  """Rows below a table of models: for each column a metric, or ''."""
  del rows
  return {
    'oracle': ['oracle_kl_1', 'oracle_kl_3'],
    'truth': ['', '', 'truth_legible', 'truth_agreement'],
  }


def report(metrics: dict[str, Any], protocol: dict[str, Any]) -> str:
  """Bounds, consistency in nats, and what the judge reads in samples."""
  p = protocol
  cell = functools.partial(metrics_lib.cell, metrics)
  best = metrics_lib.best_of(p['num_samples'])[-1]
  errors = metrics.get('standard_errors', {})
  lines = [
    metrics_lib.heading(p),
    f'context: {p["context"]}; judged: {p["hidden_frames"]} views of the '
    f'fourth; {p["num_samples"]} samples',
    f'a scene; {p["num_draws"]} posterior draws at pixel-variance '
    f'{p["pixel_variance"]:g}',
    '',
    f'{"nats per scene (standard error)":36}{"model":>9}{"":10}{"oracle":>9}'
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
    value = cell(name, form='9.2f')
    lines.append(f'  {label:34}{value}{error:>10}{oracles}')
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
  draws = metrics_lib.coverage_draws(p['num_samples'])
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
