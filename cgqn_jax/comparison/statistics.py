"""How sure a mean over runs is, and a difference of two models.

Baselines differ from seed to seed and from video to video, so an interval
draws both anew: runs first, then videos. Videos alone are no replicates of a
model: where it was trained once, an interval says nothing of other seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

Rows = Sequence[Mapping[str, Any]]

DRAWS = 10_000
_ENDS = (0.025, 0.975)


class Difference(NamedTuple):
  """Model A minus model B, in the unit of the scores.

  mean: of the means over all runs and videos.
  low, high: ends of the 95 % interval.
  replicated: whether both models were trained with several seeds; else the
    interval is of videos alone for a model that was not.
  """

  mean: float
  low: float
  high: float
  replicated: bool


def known(rows: Rows, name: str) -> list[float]:
  """The values of a metric in the rows that have it."""
  return [float(row[name]) for row in rows if row.get(name) is not None]


def mean(rows: Rows, name: str) -> float | None:
  """None where no row has the metric."""
  values = known(rows, name)
  return float(np.mean(values)) if values else None


def of_mean(values: Sequence[float]) -> tuple[float, float]:
  """95 % bootstrap interval of the mean over runs."""
  rng = np.random.default_rng(0)
  drawn = rng.choice(np.asarray(values), (DRAWS, len(values)))
  low, high = np.quantile(drawn.mean(1), _ENDS)
  return float(low), float(high)


def deviation(values: Sequence[float]) -> float | None:
  """Standard deviation over runs, of the sample; None for a single one."""
  return float(np.std(values, ddof=1)) if len(values) > 1 else None


def student(values: Sequence[float]) -> float | None:
  """t s / sqrt(R), half of the 95 % interval of the mean over R runs.

  None for a single run.
  """
  spread, count = deviation(values), len(values)
  if spread is None:
    return None
  return float(stats.t.ppf(_ENDS[1], count - 1) * spread / np.sqrt(count))


def difference(
  one: np.ndarray, other: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> Difference:
  """A minus B by a hierarchical bootstrap, paired on videos.

  A draw takes runs of A and runs of B with replacement, independently, then
  videos, the same ones of all these runs: the models saw the same videos, so
  what is hard about one cancels.

  Args:
    one: [R, V] scores of A's runs on V videos.
    other: [Q, V] of B's, on the same videos in the same order.
    draws: of the bootstrap.
    seed: of the draws.
  """
  if one.shape[1] != other.shape[1]:
    raise ValueError(
      f'{one.shape[1]} and {other.shape[1]} videos cannot be paired'
    )
  rng = np.random.default_rng(seed)
  runs = [_shares(rng, len(scores), draws) for scores in (one, other)]
  videos = _shares(rng, one.shape[1], draws)
  apart = runs[0] @ one - runs[1] @ other
  low, high = np.quantile(np.einsum('dv,dv->d', apart, videos), _ENDS)
  mean = float(one.mean() - other.mean())
  replicated = min(len(one), len(other)) > 1
  return Difference(mean, float(low), float(high), replicated)


def _shares(rng: np.random.Generator, count: int, draws: int) -> np.ndarray:
  """[draws, count]: how often each was drawn out of `count`, over `count`."""
  drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws)
  return drawn / count
