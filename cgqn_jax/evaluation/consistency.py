"""Consistency in nats: what one view, and three, tell a model of a digit.

Paper, section 4.2: r from a context that shows three sides of the cube, r'
from one view of the fourth side, then from three. The digit is all that they
tell: without pixel noise a consistent model's KL is ln 100 = 4.61 nats for
one view as for three, and a factored one's three times as large. With noise
even a perfect model pays less for one view than for three (under much noise
over three times less), so beside each number stands the oracle's, which knows
everything but the digit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from cgqn_jax.evaluation import metrics
from cgqn_jax.models.gaussian import LOG_TWO_PI
from cgqn_jax.types import Array, Batch, Params


class Oracle(NamedTuple):
  """Of one scene, in nats, under a uniform prior over D digits.

  kl_1: KL(posterior given the first target || prior); ln D as the
    pixel-variance goes to 0, and 0 as it grows.
  kl_3: the same, given all targets together.
  kl_factored: sum of each target's own, what a perfect GQN would pay.
  joint: log p of the targets if all show one digit (a perfect CGQN).
  factored: log p if each shows a digit of its own (a perfect GQN).
  """

  kl_1: float
  kl_3: float
  kl_factored: float
  joint: float
  factored: float

  @property
  def gain(self) -> float:
    """Of joint over factored: (T - 1) ln D as the variance goes to 0."""
    return self.joint - self.factored


def oracle(
  renders: np.ndarray, targets: np.ndarray, pixel_variance: float
) -> Oracle:
  """The perfect model of one scene.

  Args:
    renders: [D, T, H, W, 3] uint8, the targets with each digit.
    targets: [T, H, W, 3] uint8.
    pixel_variance: sigma^2 of the likelihood, on the scale of [0, 1].
  """
  # In whole numbers and float64: a few nats are left of tens of thousands.
  difference = renders.astype(np.int32) - targets.astype(np.int32)
  squared = np.sum(difference**2, axis=(2, 3, 4), dtype=np.int64) / 255.0**2
  size = targets[0].size
  constant = 0.5 * size * (LOG_TWO_PI + np.log(pixel_variance))
  each = -0.5 * squared / pixel_variance - constant
  together, log_count = each.sum(1), np.log(len(renders))
  return Oracle(
    kl_1=_kl_to_uniform(each[:, 0]),
    kl_3=_kl_to_uniform(together),
    kl_factored=sum(_kl_to_uniform(one) for one in each.T),
    joint=float(special.logsumexp(together) - log_count),
    factored=float(np.sum(special.logsumexp(each, axis=0) - log_count)),
  )


def _kl_to_uniform(log_likelihood: np.ndarray) -> float:
  """KL of the posterior over [D] equally likely digits to their prior."""
  posterior = special.log_softmax(log_likelihood)
  entropy = -np.sum(np.exp(posterior) * posterior)
  return float(np.log(len(posterior)) - entropy)


def divergence_of_one(
  model: Any, params: Params, key: Array, batch: Batch, num_draws: int
) -> np.ndarray:
  """KL_1 of each scene, [B]: the posterior sees the first target alone.

  KL_3 is the KL of `evaluation.bounds`, whose posterior sees them all; under
  the same key both have the same noise.
  """
  first = np.arange(batch.target_mask.shape[1]) == 0
  one = batch._replace(target_mask=batch.target_mask & first)
  # The KL of a draw takes no note of the variance.
  return metrics.bounds(model, params, key, one, 1.0, num_draws).kl


def over_models(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """The line of the consistency table for runs that differ in their seed.

  Args:
    rows: metrics of `dice_scoring.evaluate`, one a run, on the same scenes.

  Returns:
    Means over runs, the ratio of the mean KLs, the standard deviation over
    runs of KL_3 - KL_1 (None for a single run), and the oracle's.
  """
  names = ('kl_1', 'kl_3', 'negative_elbo')
  line = {name: float(np.mean([row[name] for row in rows])) for name in names}
  differences = [row['kl_3'] - row['kl_1'] for row in rows]
  line['kl_ratio'] = line['kl_3'] / line['kl_1']
  line['kl_difference'] = float(np.mean(differences))
  line['kl_difference_deviation'] = (
    float(np.std(differences, ddof=1)) if len(rows) > 1 else None
  )
  for name in ('oracle_kl_1', 'oracle_kl_3', 'oracle_kl_factored'):
    line[name] = float(np.mean([row[name] for row in rows]))
  return line


def gain(
  joint: Mapping[str, Any], factored: Mapping[str, Any]
) -> dict[str, float]:
  """Nats a scene by which CGQN beats GQN, and the oracle's.

  Args:
    joint: a CGQN's metrics, or the mean over its runs.
    factored: a GQN's, on the same scenes at the same pixel-variance.
  """
  its = factored['negative_elbo'] - joint['negative_elbo']
  perfect = joint['oracle_gain']
  return {'gain': its, 'oracle_gain': perfect, 'gain_share': its / perfect}
