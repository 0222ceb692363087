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
import tqdm

from cgqn_jax import images
from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import protocols
from cgqn_jax.data.examples import Source
from cgqn_jax.data.protocols import Views
from cgqn_jax.evaluation import metrics as metrics_lib
from cgqn_jax.evaluation import narrative_judge, sampling
from cgqn_jax.evaluation.metrics import Column
from cgqn_jax.models.build import Model
from cgqn_jax.models.sequential import check_sequential
from cgqn_jax.simulators.narratives import NARRATIVES
from cgqn_jax.types import Array, Batch, Params

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


def evaluate(
  model: Model,
  params: Params,
  config: ConfigDict,
  source: Source,
  protocol: dict[str, Any],
) -> metrics_lib.Scores:
  """All scores of videos."""
  keys = jax.random.split(jax.random.key(protocol['seed']), 2)
  rows, errors, ids = _score_samples(
    model, params, config, source, protocol, keys[0]
  )
  sheet = _sheet(model, params, config, source, protocol, keys[0])
  metrics = _average(rows)
  best = [its[its.mean(-1).argmin()] for its in errors]
  metrics['mse_by_frame'] = np.mean(best, 0).tolist()
  metrics['mean_mse_by_frame'] = np.mean(errors, (0, 1)).tolist()
  bounds = _score_bounds(model, params, config, source, protocol, keys[1])
  metrics |= _summary_of_bounds(bounds, config, protocol)
  return metrics_lib.Scores(
    metrics,
    sheet,
    {'example_id': np.array(ids), 'errors': np.array(errors).mean(-1)}
    | metrics_lib.columns(rows)
    | bounds,
  )


def point(
  model: Model,
  params: Params,
  config: ConfigDict,
  source: Source,
  protocol: dict[str, Any],
) -> dict[str, Any]:
  """Scores of a checkpoint, for a curve over training."""
  metrics = evaluate(model, params, config, source, protocol).metrics
  best = metrics_lib.best_of(protocol['num_samples'])
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


def _futures(
  config: ConfigDict, split: str, batch: Batch
) -> tuple[np.ndarray, np.ndarray]:
  """[B, F, T, H, W, 3] and counts [B]; F is 0 where none can be counted."""
  if unjudged(config):
    shape = batch.target.frames.shape
    return np.zeros((shape[0], 0, *shape[1:]), np.uint8), np.zeros(
      shape[0], int
    )
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


def _score_samples(
  model: Model,
  params: Params,
  config: ConfigDict,
  source: Source,
  protocol: dict[str, Any],
  key: Array,
) -> tuple[list[dict[str, Any]], list[np.ndarray], list[int]]:
  """Scores of each scene, errors [S, T] of its samples, and its example id."""
  rows, errors, ids = [], [], []
  num_scenes, size = protocol['num_scenes'], protocol['batch_size']
  num_samples = protocol['num_samples']
  batches = batches_lib.test_batches(config, source, num_scenes, size)
  bar = tqdm.tqdm(total=num_scenes, desc='samples', unit=' scenes')
  for batch in batches:
    futures, counts = _futures(config, source.split, batch)
    drawn = sampling.draw_samples(
      model, params, key, batch, futures, num_samples
    )
    similarity = np.asarray(metrics_lib.ssim(drawn.best, batch.target.frames))
    for b in np.flatnonzero(batch.weight):
      errors.append(drawn.errors[:, b])
      ids.append(int(batch.example_id[b]))
      row = _sample_scores(errors[-1], similarity[b], drawn.variance[b])
      row |= _copies(config, batch, b)
      if counts[b]:
        its = futures[b, : counts[b]]
        row |= narrative_judge.judge(drawn.distances[:, b, : counts[b]], its)
        row |= narrative_judge.anchors(its, metrics_lib.best_of(num_samples))
      rows.append(row)
    bar.update(int(np.sum(batch.weight)))
  bar.close()
  return rows, errors, ids


def _sample_scores(
  errors: np.ndarray, similarity: np.ndarray, variance: float
) -> dict[str, float]:
  """Scores of one scene from its errors [S, T] and the best one's SSIM [T]."""
  joint = errors.mean(-1)
  best = errors[joint.argmin()]
  scores = {
    f'best_of_{n}': float(metrics_lib.best_of_n(joint, n))
    for n in metrics_lib.best_of(len(joint))
  }
  return scores | {
    'best_psnr': float(metrics_lib.psnr(best).mean()),
    'mean_psnr': float(metrics_lib.psnr(errors).mean()),
    'best_ssim': float(similarity.mean()),
    # Mean squared difference of two samples.
    'diversity': float(2 * variance),
  }


def _copies(config: ConfigDict, batch: Batch, b: int) -> dict[str, float]:
  """MSE of repeating frames seen: the latest, or for each its nearest in time.

  Of two that are equally near, the earlier; of an empty context, nothing.
  """
  context = np.array(config.data.test_context, int)
  if not context.size:
    return {}
  order = np.argsort(context)
  seen = np.asarray(batch.context.frames)[b, order] / 255.0
  truth = np.asarray(batch.target.frames)[b] / 255.0
  hidden = np.setdiff1d(np.arange(config.data.num_frames), context)
  apart = np.abs(hidden[:, None] - context[order])
  copied = {'last': seen[-1:], 'nearest': seen[apart.argmin(-1)]}
  return {
    f'copy_{name}_frame': float(np.mean((truth - frames) ** 2))
    for name, frames in copied.items()
  }


def _score_bounds(
  model: Model,
  params: Params,
  config: ConfigDict,
  source: Source,
  protocol: dict[str, Any],
  key: Array,
) -> dict[str, np.ndarray]:
  """Bounds over num_targets hidden frames at the schedule's final variance."""
  variance = protocol['pixel_variance']
  num_targets, size = protocol['num_targets'], protocol['batch_size']
  rows = []
  batches = batches_lib.test_batches(
    config, source, protocol['num_scenes'], size, num_targets
  )
  bar = tqdm.tqdm(total=protocol['num_scenes'], desc='bounds', unit=' scenes')
  for batch in batches:
    real = batch.weight > 0
    its = metrics_lib.bounds(
      model, params, key, batch, variance, protocol['num_draws']
    )
    rows.append(np.stack(its)[:, real])
    bar.update(int(real.sum()))
  bar.close()
  _, kl, elbo, weighted = np.concatenate(rows, axis=1)
  return {
    'negative_elbo': -elbo,
    'negative_importance_weighted': -weighted,
    'kl': kl,
  }


def _summary_of_bounds(
  bounds: dict[str, np.ndarray], config: ConfigDict, protocol: dict
) -> dict[str, float]:
  """Means over scenes, and what follows of them."""
  means = {name: float(values.mean()) for name, values in bounds.items()}
  num_targets, nats = protocol['num_targets'], means['negative_elbo']
  dimensions = num_targets * 3 * config.data.frame_size**2
  return means | {
    'negative_elbo_per_target': nats / num_targets,
    'bits_per_dimension': metrics_lib.bits_per_dimension(nats, dimensions),
  }


def _sheet(
  model: Model,
  params: Params,
  config: ConfigDict,
  source: Source,
  protocol: dict[str, Any],
  key: Array,
) -> np.ndarray:
  """Truth and samples of a few scenes."""
  count = min(_SHOWN, protocol['num_scenes'])
  examples = batches_lib.scenes(source, range(count))
  every = np.arange(config.data.num_frames)
  context = np.array(config.data.test_context, int)
  batch = batches_lib.make_batch(
    source, examples, [Views(context, every)] * count
  )
  samples = sampling.draw_all(model, params, key, batch, 3)
  shown = np.linspace(0, len(every) - 1, 11).round().astype(int)
  rows, labels = [], []
  for b in range(count):
    rows += [
      images.to_uint8(batch.target.frames[b]),
      *images.to_uint8(samples)[:, b],
    ]
    labels += [f'scene {b}: truth', 'sample 1', 'sample 2', 'sample 3']
  return images.sheet(
    np.stack(rows)[:, shown],
    labels,
    [f'F{i + 1}' for i in shown],
    context=np.isin(shown, config.data.test_context),
  )


def _average(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """Means over scenes; None counts for nothing, and stays where it is all."""
  means = {}
  for name in rows[0]:
    values = [row[name] for row in rows if row.get(name) is not None]
    means[name] = float(np.mean(values)) if values else None
  return means


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
  return [
    Column(f'best of {best.removeprefix("best_of_")}', best, '.2f', 1e3),
    Column('best of 1', 'best_of_1', '.2f', 1e3),
    Column('valid (half)', 'validity_half', '.3f')
    if by_half(rows)
    else Column('valid', 'validity', '.3f'),
    Column('modes', 'modes', '.2f'),
    Column('PSNR, dB', 'best_psnr', '.2f'),
    Column('SSIM', 'best_ssim', '.3f'),
  ]


def by_half(rows: Sequence[Mapping[str, Any]]) -> bool:
  """True if some were judged by the limit of older tables alone."""
  return any('validity_half' in row and 'validity' not in row for row in rows)


def anchors(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
  """Rows below a table of models: for each column a metric, or ''."""
  best = best_metric(rows)
  return {
    'copy last frame': ['copy_last_frame'] * 2,
    'pixel-mean of futures': ['pixel_mean'] * 2,
    'oracle': [f'oracle_{best}', 'oracle_best_of_1', '', 'oracle_modes'],
  }


def report(metrics: dict[str, Any], protocol: dict[str, Any]) -> str:
  """Errors of hidden frames, the judge's scores, the bounds.

  Where the simulator does not judge, one line says why.
  """
  p = protocol
  lines = [
    f'{p["model"]} on {p["dataset"]}, {p["split"]} split: '
    f'{p["num_scenes"]} scenes, {p["frame_size"]}x{p["frame_size"]}, '
    f'update {p["step"]:,}, seed {p["seed"]}',
    f'context: frames {p["context"]} (from 0); judged: the '
    f'{p["hidden_frames"]} others, jointly; {p["num_samples"]} samples per '
    'scene',
    '',
    f'{"MSE of hidden frames x 1e-3":34}{"model":>9}{"oracle":>9}',
  ]

  cell = functools.partial(metrics_lib.cell, metrics)

  for n in metrics_lib.best_of(p['num_samples']):
    oracle = cell(f'oracle_best_of_{n}', 1e3)
    lines.append(f'  best of {n:<24}{cell(f"best_of_{n}", 1e3)}{oracle}')
  lines += [
    f'  {"copy nearest frame seen":32}{cell("copy_nearest_frame", 1e3)}',
    f'  {"copy last frame seen":32}{cell("copy_last_frame", 1e3)}',
  ]
  if not p['unjudged']:
    label = 'pixel-mean of possible futures'
    lines.append(f'  {label:32}{cell("pixel_mean", 1e3)}')
  lines += [*_by_frame(metrics, p), '', *_verdict(metrics, p), '']
  lines += [
    f'{"nats per scene":34}{"model":>9}{"oracle":>9}',
    f'  {"KL":32}{cell("kl")}{cell("oracle_kl")}',
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
  ]
  text = f'mean of all samples by frame: {", ".join(cells)}'
  wrapped = textwrap.wrap(text, 78, subsequent_indent='  ')
  return [f'  {line}'.replace('\xa0', ' ') for line in wrapped]


def _verdict(metrics: dict[str, Any], p: dict[str, Any]) -> list[str]:
  """What the simulator says of samples, or why it says nothing."""
  if p['unjudged']:
    return [f'no pixel-mean, valid, covered: {p["unjudged"]}']
  cell = functools.partial(metrics_lib.cell, metrics)
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
