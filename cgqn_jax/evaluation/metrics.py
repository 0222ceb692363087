"""What the tables report: bounds in nats, errors of samples, their quality.

Paper, section 4.1 (multi-sample MSE) and 4.2 (negative ELBO). Errors are
means over the frames, pixels and channels of a scene's hidden frames, after
clipping to [0, 1]; best-of-n takes the minimum over samples of the *joint*
error of all hidden frames, never frame by frame.
"""

from collections.abc import Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from cgqn_jax.models.build import Model
from cgqn_jax.types import Array, Batch, Elbo, Params, to_unit

BEST_OF = (1, 3, 6, 10, 30, 100)
COVERAGE_DRAWS = 30  # the samples whose variety counts
MSE_FLOOR = 1e-10  # of the PSNR: 100 dB at most


class Column(NamedTuple):
  """A metric as a column of tables: head, name, format and scale."""

  head: str
  metric: str
  form: str
  scale: float = 1.0


class Scores(NamedTuple):
  """What an evaluation finds.

  metrics: {name: value}, means over scenes.
  sheet: of samples, an image.
  per_scene: {name: [V]} of V scenes, `example_id` among them, NaN where a
    scene has no such score; `errors` of videos are [V, S], one per sample.
  """

  metrics: dict[str, Any]
  sheet: np.ndarray
  per_scene: dict[str, np.ndarray]


def best_of(num_samples: int) -> list[int]:
  """Which n the tables report the best of n samples for."""
  return [n for n in BEST_OF if n <= num_samples]


def coverage_draws(num_samples: int) -> int:
  """Of how many samples the variety counts."""
  return min(COVERAGE_DRAWS, num_samples)


def best_of_scores(errors: np.ndarray) -> dict[str, float]:
  """best_of_<n> of a scene's samples, from their joint errors [S]."""
  return {
    f'best_of_{n}': float(best_of_n(errors, n)) for n in best_of(len(errors))
  }


def best_of_n(errors: np.ndarray, n: int) -> np.ndarray:
  """Unbiased estimate of the least of n errors, from N >= n of them.

  The expectation over all subsets of n out of the N samples:
  sum_i e_(i) C(N - i, n - 1) / C(N, n) over the sorted errors, i from 1.

  Args:
    errors: [N, ...] joint errors, one per sample.
    n: at most N.

  Returns:
    [...].
  """
  total = errors.shape[0]
  if not 1 <= n <= total:
    raise ValueError(f'best of {n} samples: there are {total}')
  rank = np.arange(1, total - n + 2)
  weight = special.binom(total - rank, n - 1) / special.binom(total, n)
  return np.tensordot(weight, np.sort(errors, axis=0)[: len(rank)], axes=1)


def psnr(mse: np.ndarray) -> np.ndarray:
  """Peak signal-to-noise ratio of [0, 1] frames in dB, from their MSE."""
  return -10 * np.log10(np.maximum(mse, MSE_FLOOR))


@jax.jit
def ssim(one: Array, other: Array) -> Array:
  """Structural similarity of frames [..., H, W, 3] in [0, 1]: [...].

  11x11 Gaussian window of standard deviation 1.5 (7x7 of frames of 8 pixels), K
  = 0.01 and 0.03, VALID padding, mean over positions and channels.
  """
  half = min(5, (min(one.shape[-3:-1]) - 1) // 2)
  offset = np.arange(-half, half + 1)
  window = np.exp(-0.5 * (offset / 1.5) ** 2)
  window /= window.sum()

  # A product with a band matrix compiles at once; a sum of shifted copies takes
  # minutes on a GPU. Variances are differences of blurs, so a GPU's reduced
  # precision of products would not do.
  def band(size: int) -> np.ndarray:
    room = size - len(window)
    rows = [np.pad(window, (i, room - i)) for i in range(room + 1)]
    return np.array(rows, np.float32)

  def blur(x: Array) -> Array:
    rows, columns = band(x.shape[-3]), band(x.shape[-2])
    x = jnp.einsum('ih,...hwc->...iwc', rows, x, precision='highest')
    return jnp.einsum('jw,...iwc->...ijc', columns, x, precision='highest')

  a, b = to_unit(one), to_unit(other)
  mean_a, mean_b = blur(a), blur(b)
  var_a = blur(a * a) - mean_a**2
  var_b = blur(b * b) - mean_b**2
  cov = blur(a * b) - mean_a * mean_b
  c1, c2 = 0.01**2, 0.03**2
  score = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
  score = score / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
  return jnp.mean(score, axis=(-3, -2, -1))


class Bounds(NamedTuple):
  """Bounds of B scenes in nats: [B] each."""

  log_likelihood: np.ndarray
  kl: np.ndarray
  elbo: np.ndarray
  importance_weighted: np.ndarray


def bounds(
  model: Model,
  params: Params,
  key: Array,
  batch: Batch,
  pixel_variance: float,
  num_draws: int,
) -> Bounds:
  """The ELBO, averaged over draws, and the importance-weighted bound.

  The latter is log mean exp over draws of p(F | z) p(z | C) / q(z | C, F):
  no looser in expectation, and tight as the number of draws grows.
  """
  log_likelihood, kl, log_weight = [], [], []
  for draw in range(num_draws):
    elbo = _elbo(model, params, key, batch, pixel_variance, draw)
    log_likelihood.append(elbo.log_likelihood)
    kl.append(elbo.kl)
    log_weight.append(elbo.log_likelihood - elbo.log_ratio)
  likelihood, divergence = np.mean(log_likelihood, 0), np.mean(kl, 0)
  weighted = special.logsumexp(np.stack(log_weight), axis=0)
  return Bounds(
    likelihood,
    divergence,
    likelihood - divergence,
    weighted - np.log(num_draws),
  )


@functools.partial(jax.jit, static_argnames='model')
def _elbo(
  model: Model,
  params: Params,
  key: Array,
  batch: Batch,
  pixel_variance: Array,
  draw: Array,
) -> Elbo:
  key = jax.random.fold_in(key, draw)
  return model.elbo(params, key, batch, pixel_variance)


def bits_per_dimension(nats: float, dimensions: int) -> float:
  """Nats of a density on [0, 1] as bits per value on the 8-bit scale.

  No dequantisation; independent of the number of targets, since
  `dimensions` counts them too.
  """
  return nats / (dimensions * np.log(2)) + 8


def total_variation(labels: np.ndarray, count: int) -> float:
  """The distance of labels below `count` to the uniform distribution."""
  share = np.bincount(labels, minlength=count) / len(labels)
  return float(0.5 * np.abs(share - 1 / count).sum())


def uniform_total_variation(draws: int, count: int) -> float:
  """The expected `total_variation` of uniform draws of `count` labels."""
  times = np.arange(draws + 1)
  likely = stats.binom.pmf(times, draws, 1 / count)
  deviation = likely @ np.abs(times / draws - 1 / count)
  return float(0.5 * count * deviation)


def uniform_coverage(draws: int, count: int) -> float:
  """How many of `count` labels uniform draws show, in expectation."""
  if count == 1:
    return 1.0
  return float(-count * special.expm1(draws * np.log1p(-1 / count)))


def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
  """{name: [V]} of a row per scene; NaN where it has no such score."""
  names = dict.fromkeys(name for row in rows for name in row)
  return {
    name: np.array([row.get(name) for row in rows], np.float64)
    for name in names
  }


def average(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """Means over scenes; None counts for nothing, and stays where it is all."""
  means = {}
  for name in rows[0]:
    values = [row[name] for row in rows if row.get(name) is not None]
    means[name] = float(np.mean(values)) if values else None
  return means


def per_value(nats: float, num_targets: int, frame_size: int) -> dict[str, Any]:
  """A negative ELBO of RGB frames per target, and per value in bits."""
  dimensions = num_targets * 3 * frame_size**2
  return {
    'negative_elbo_per_target': nats / num_targets,
    'bits_per_dimension': bits_per_dimension(nats, dimensions),
  }


def heading(protocol: dict[str, Any]) -> str:
  """The first line of a report: which model, which scenes."""
  p = protocol
  return (
    f'{p["model"]} on {p["dataset"]}, {p["split"]} split: '
    f'{p["num_scenes"]} scenes, {p["frame_size"]}x{p["frame_size"]}, '
    f'update {p["step"]:,}, seed {p["seed"]}'
  )


def table(
  metrics: dict[str, Any],
  title: str,
  heads: Sequence[str],
  rows: Sequence[tuple[str, ...]],
  scale: float = 1.0,
) -> list[str]:
  """Lines of a report: a title and heads, then a label and metrics per row."""
  lines = [f'{title:34}' + ''.join(f'{head:>9}' for head in heads)]
  for label, *names in rows:
    cells = (cell(metrics, name, scale) for name in names)
    lines.append(f'  {label:32}' + ''.join(cells))
  return lines


def cell(
  metrics: dict[str, Any], name: str, scale: float = 1.0, form: str = '9.3f'
) -> str:
  """A metric in a column of text; a dash where there is none."""
  value = metrics.get(name)
  return f'{"-":>9}' if value is None else f'{value * scale:{form}}'
