"""All scores of a model on held-out scenes, with their anchors.

Paper, sections 4.1 and 4.2; the protocol of a table is a plain dict, which
`experiments/evaluate.py` fills and writes beside the numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
import functools
import textwrap
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import images
from cgqn_jax.data import batches, protocols
from cgqn_jax.data.protocols import Views
from cgqn_jax.evaluation import metrics as metrics_lib
from cgqn_jax.evaluation import narrative_judge, sampling
from cgqn_jax.evaluation.metrics import Column
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.models.sequential import check_sequential
from cgqn_jax.simulators.narratives import NARRATIVES
from cgqn_jax.types import Array, Batch

_SHOWN = 4  # scenes on the sheet


def judged(config: ConfigDict) -> dict[str, Any]:
  """The part of a protocol that says which frames are judged, and how."""
  hidden = config.data.num_frames - len(config.data.test_context)
  why = unjudged(config)
  return {
    'context': list(config.data.test_context),
    'hidden_frames': hidden,
    'num_targets': min(config.data.num_targets, hidden),
    'unjudged': why,
    # Evaluations by another limit are made again.
    'valid_below': None if why else narrative_judge.VALID_BELOW,
  }


def see(config: ConfigDict, frames: list[int]) -> None:
  """Makes these frames the context; ValueError if the model cannot."""
  data = config.data
  data.test_context = tuple(frames)
  if data.protocol == 'sequence':
    times = np.array(frames).reshape((1, -1, 1)) / (data.num_frames - 1)
    check_sequential(times, times, data.num_frames, queries=True)
    if len(frames) > data.max_context:
      raise ValueError(
        f'--context names {len(frames)} frames; {config.model.name} was '
        f'trained on {data.max_context} and reads no more'
      )
    data.max_context = len(frames)
    data.num_targets = data.num_frames - len(frames)
  protocols.check(config)


def evaluate(subject: Subject) -> metrics_lib.Scores:
  """All scores of videos."""
  keys = jax.random.split(jax.random.key(subject.protocol['seed']), 2)
  rows, errors, ids = _score_samples(subject, keys[0])
  sheet = _sheet(subject, keys[0])
  metrics = metrics_lib.average(rows)
  best = [scene[np.nanmean(scene, -1).argmin()] for scene in errors]
  metrics['mse_by_frame'] = _frame_by_frame(best)
  metrics['mean_mse_by_frame'] = _frame_by_frame(np.mean(errors, 1))
  num_targets = subject.protocol['num_targets']
  found = subject.all_bounds(keys[1], 'bounds', num_targets)
  bounds = {
    'negative_elbo': -found.elbo,
    'negative_importance_weighted': -found.importance_weighted,
    'kl': found.kl,
  }
  metrics |= {name: float(values.mean()) for name, values in bounds.items()}
  metrics |= metrics_lib.per_value(
    metrics['negative_elbo'], num_targets, subject.config.data.frame_size
  )
  return metrics_lib.Scores(
    metrics,
    sheet,
    {'example_id': np.array(ids), 'errors': np.nanmean(errors, -1)}
    | metrics_lib.columns(rows)
    | bounds,
  )


def point(subject: Subject) -> dict[str, Any]:
  """Scores of a checkpoint, for a curve over training."""
  metrics = evaluate(subject).metrics
  best = metrics_lib.best_of(subject.protocol['num_samples'])
  names = ['negative_elbo', 'kl', *(f'best_of_{n}' for n in best)]
  return {name: metrics[name] for name in names}


def unjudged(config: ConfigDict) -> str | None:
  """Why the simulator does not judge samples of videos; None if it does."""
  name = config.data.config
  narrative = NARRATIVES.get(name)
  if (
    config.dataset != 'narratives'
    or config.data.source == 'folder'
    or narrative is None
  ):
    return 'the simulator did not make the videos'
  if narrative.alternatives is None:
    return f'the futures of {name} cannot be counted'
  if 0 not in config.data.test_context:
    # Other beginnings may lead to the frames seen, and are not listed.
    return 'futures are counted from F1, which is unseen'
  return None


def _score_samples(
  subject: Subject, key: Array
) -> tuple[list[dict[str, Any]], list[np.ndarray], list[int]]:
  """Scores of each scene, errors [S, T] of its samples, and its example id."""
  rows, errors, ids = [], [], []
  model, params, config, source, protocol = subject
  num_samples = protocol['num_samples']
  for batch in subject.batches('samples'):
    futures, counts = _futures(config, source.split, batch)
    drawn = sampling.draw_samples(
      model, params, key, batch, num_samples, futures
    )
    similarity = np.asarray(metrics_lib.ssim(drawn.best, batch.target.frames))
    for b in np.flatnonzero(batch.weight):
      errors.append(drawn.errors[:, b])
      ids.append(int(batch.example_id[b]))
      there = np.asarray(batch.target_mask[b])
      row = _sample_scores(
        errors[-1][:, there], similarity[b, there], drawn.variance[b]
      )
      row |= _copies(config, batch, b)
      if futures is not None:
        own, distances = futures[b, : counts[b]], drawn.distances[:, b]
        row |= narrative_judge.judge(distances[:, : counts[b]], own)
        row |= narrative_judge.anchors(own, num_samples)
      rows.append(row)
  return rows, errors, ids


def _futures(
  config: ConfigDict, split: str, batch: Batch
) -> tuple[np.ndarray | None, np.ndarray | None]:
  """[B, F, T, H, W, 3] and counts [B]; None where they cannot be counted."""
  if unjudged(config):
    return None, None
  seen = list(config.data.test_context)
  hidden = np.setdiff1d(np.arange(config.data.num_frames), seen)
  return narrative_judge.possible_futures(
    config.data.config,
    split,
    batch.example_id,
    seen,
    hidden,
    config.data.frame_size,
  )


def _sample_scores(
  errors: np.ndarray, similarity: np.ndarray, variance: float
) -> dict[str, float]:
  """Scores of one scene from its errors [S, T] and the best one's SSIM [T]."""
  joint = errors.mean(-1)
  best = errors[joint.argmin()]
  return metrics_lib.best_of_scores(joint) | {
    'best_psnr': float(metrics_lib.psnr(best).mean()),
    'mean_psnr': float(metrics_lib.psnr(errors).mean()),
    'best_ssim': float(similarity.mean()),
    # Mean squared difference of two samples.
    'diversity': float(2 * variance),
  }


def _frame_by_frame(errors: Sequence[np.ndarray]) -> list[float | None]:
  """Means over scenes [V, T] -> [T]; None for a frame that none has."""
  columns = np.transpose(errors)
  return [
    None if np.isnan(column).all() else float(np.nanmean(column))
    for column in columns
  ]


def _copies(config: ConfigDict, batch: Batch, b: int) -> dict[str, float]:
  """MSE of repeating frames seen: the latest, or for each its nearest in time.

  Takes the earlier of two that are equally near; empty without a context.
  """
  context = np.array(config.data.test_context, int)
  if not context.size:
    return {}
  order = np.argsort(context)
  seen = np.asarray(batch.context.frames)[b, order] / 255.0
  there = np.asarray(batch.target_mask[b])
  truth = np.asarray(batch.target.frames)[b, there] / 255.0
  hidden = np.setdiff1d(np.arange(config.data.num_frames), context)[there]
  apart = np.abs(hidden[:, None] - context[order])
  copied = {'last': seen[-1:], 'nearest': seen[apart.argmin(-1)]}
  return {
    f'copy_{name}_frame': float(np.mean((truth - frames) ** 2))
    for name, frames in copied.items()
  }


def _sheet(subject: Subject, key: Array) -> np.ndarray:
  """Truth and samples of a few scenes."""
  model, params, config, source, protocol = subject
  count = min(_SHOWN, protocol['num_scenes'])
  examples = batches.scenes(source, range(count))
  context = np.array(config.data.test_context, int)
  views = [Views(context, np.arange(len(e.views))) for e in examples]
  batch = batches.make_batch(source, examples, views)
  samples = sampling.draw_all(model, params, key, batch, 3)
  longest = batch.target_mask.shape[1]
  shown = np.unique(np.linspace(0, longest - 1, 11).round().astype(int))
  rows, labels = [], []
  for b in range(count):
    for frames in (batch.target.frames[b], *samples[:, b]):
      rows.append(sampling.blanked(frames, batch.target_mask[b]))
    labels += [f'scene {b}: truth', 'sample 1', 'sample 2', 'sample 3']
  return images.sheet(
    np.stack(rows)[:, shown],
    labels,
    [f'F{i + 1}' for i in shown],
    context=np.isin(shown, config.data.test_context),
    block=4,
    note=f'The model saw {images.frame_names(context.tolist())} (orange).',
  )


def best_metric(rows: Iterable[Mapping[str, Any]]) -> str:
  """The best of as many samples as all rows have, 30 at most."""
  counts = [
    {int(n.removeprefix('best_of_')) for n in row if n.startswith('best_of_')}
    for row in rows
  ]
  return f'best_of_{max(n for n in set.intersection(*counts) if n <= 30)}'


def headline(rows: Sequence[Mapping[str, Any]]) -> Column:
  """The number by which runs are compared."""
  return Column('MSE x 1e-3', best_metric(rows), '.3f', 1e3)


def columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
  """What a table of models shows of each."""
  best = best_metric(rows)
  judge = [
    Column('valid (half)', 'validity_half', '.3f')
    if by_half(rows)
    else Column('valid', 'validity', '.3f'),
    Column('modes', 'modes', '.2f'),
  ]
  return [
    Column(f'best of {best.removeprefix("best_of_")}', best, '.2f', 1e3),
    Column('best of 1', 'best_of_1', '.2f', 1e3),
    *(judge if _are_judged(rows) else []),
    Column('PSNR, dB', 'best_psnr', '.2f'),
    Column('SSIM', 'best_ssim', '.3f'),
  ]


def _are_judged(rows: Iterable[Mapping[str, Any]]) -> bool:
  """Tells whether the simulator made the videos of some rows, and judges."""
  return any(row.get('modes') is not None for row in rows)


def by_half(rows: Sequence[Mapping[str, Any]]) -> bool:
  """True if some were judged by the limit of older tables alone."""
  return any('validity_half' in row and 'validity' not in row for row in rows)


def anchors(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
  """Rows below a table of models: for each column a metric, or ''."""
  best = best_metric(rows)
  copy = {'copy last frame': ['copy_last_frame'] * 2}
  if not _are_judged(rows):
    return copy
  return copy | {
    'pixel-mean of futures': ['pixel_mean'] * 2,
    'oracle': [f'oracle_{best}', 'oracle_best_of_1', '', 'oracle_modes'],
  }


def report(metrics: dict[str, Any], protocol: dict[str, Any]) -> str:
  """Errors of hidden frames, the judge's scores, the bounds.

  Where the simulator does not judge, one line says why.
  """
  p = protocol
  cell = functools.partial(metrics_lib.cell, metrics)
  table = functools.partial(metrics_lib.table, metrics)
  heads = ('model',) if p['unjudged'] else ('model', 'oracle')
  errors = [
    (f'best of {n}', f'best_of_{n}', f'oracle_best_of_{n}')[: 1 + len(heads)]
    for n in metrics_lib.best_of(p['num_samples'])
  ]
  errors.append(('copy nearest frame seen', 'copy_nearest_frame'))
  errors.append(('copy last frame seen', 'copy_last_frame'))
  draws = metrics_lib.coverage_draws(p['num_samples'])
  verdict = [f'no pixel-mean, valid, covered: {p["unjudged"]}']
  if not p['unjudged']:
    errors.append(('pixel-mean of possible futures', 'pixel_mean'))
    verdict = metrics_lib.table(
      metrics | {'all': 1.0},
      'the simulator as judge',
      heads,
      [
        ('valid samples, share', 'validity', 'all'),
        (f'futures covered in {draws} samples', 'valid_modes', 'oracle_modes'),
        ('  invalid samples counted too', 'modes'),
        (
          'total variation to uniform',
          'total_variation',
          'oracle_total_variation',
        ),
        ('frames that agree, share', 'agreement', 'all'),
      ],
    )
  lines = [
    metrics_lib.heading(p),
    f'context: frames {p["context"]} (from 0); judged: the '
    f'{p["hidden_frames"]} others, jointly; {p["num_samples"]} samples per '
    'scene',
    '',
    *table('MSE of hidden frames x 1e-3', heads, errors, 1e3),
    *_by_frame(metrics, p),
    '',
    *verdict,
    '',
    *table(
      'nats per scene', heads, [('KL', 'kl', 'oracle_kl')[: 1 + len(heads)]]
    ),
    '',
    f'best sample (of {p["num_samples"]}): PSNR {cell("best_psnr").strip()} dB,'
    f' SSIM {cell("best_ssim").strip()}; all samples: PSNR '
    f'{cell("mean_psnr").strip()} dB, mean squared difference of two '
    f'{cell("diversity", 1e3).strip()}e-3',
    f'bounds over {p["num_targets"]} hidden frames per scene at pixel-variance '
    f'{p["pixel_variance"]:g}, {p["num_draws"]} draws:',
    f'  negative ELBO {metrics["negative_elbo"]:.2f} nats per scene, '
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
    if error is not None
  ]
  text = f'mean of all samples by frame: {", ".join(cells)}'
  wrapped = textwrap.wrap(text, 78, subsequent_indent='  ')
  return [f'  {line}'.replace('\xa0', ' ') for line in wrapped]
