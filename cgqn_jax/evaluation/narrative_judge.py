"""The simulator judges samples: against every future that it allows.

The ground truth of the narratives says what may follow the frames that were
seen, so a sample is scored and not only looked at.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cgqn_jax.evaluation.metrics import (
  COVERAGE_DRAWS,
  best_of,
  coverage_draws,
  total_variation,
  uniform_coverage,
  uniform_total_variation,
)
from cgqn_jax.simulators import narratives

# A sample is valid below this share of the mean MSE between two futures. A
# blend of two average futures lies at a quarter of it. Half of the least MSE,
# the limit before, accepts the midpoint of two futures.
VALID_BELOW = 0.1


def possible_futures(
  name: str,
  split: str,
  example_ids: Sequence[int],
  seen: Sequence[int],
  hidden: Sequence[int],
  frame_size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Renders all futures of each scene, the true one first.

  Args:
    name: of a narrative whose futures can be counted.
    split: of the scenes.
    example_ids: B ids.
    seen: indices of the context's frames; frame 0 must be among them, since
      all futures begin with it.
    hidden: T indices of the frames to judge.
    frame_size: H = W.

  Returns:
    frames [B, F, T, H, W, 3] uint8, scenes with fewer than F futures filled
    up with their true one, and the number of futures [B].
  """
  shown = np.array(hidden, int)
  scenes = []
  for example_id in example_ids:
    story = narratives.sample(name, split, int(example_id))
    futures = narratives.hypotheses(
      name, story, list(seen), frame_size=frame_size
    )
    scenes.append(
      [
        s._replace(positions=s.positions[shown], color=s.color[shown])
        for s in futures
      ]
    )
  counts = np.array([len(futures) for futures in scenes])
  most = int(max(counts))
  filled = [f + [f[0]] * (most - len(f)) for f in scenes]
  stories = narratives.stack([s for futures in filled for s in futures])
  frames = np.asarray(narratives.render_batch(stories, frame_size))
  return frames.reshape((len(scenes), most, *frames.shape[1:])), counts


def judge(distances: np.ndarray, futures: np.ndarray) -> dict[str, Any]:
  """Scores the samples of one scene.

  Args:
    distances: [S, F, T] MSE of each frame of each sample to each future.
    futures: [F, T, H, W, 3] uint8, the true one first.

  Returns:
    validity: share of samples whose joint MSE to the nearest future is below
      a tenth of the mean MSE between two different futures; None where there
      is only one.
    validity_half: share below half the MSE between the two futures nearest to
      each other, as older tables have it.
    agreement: share of a sample's frames to which no other future is nearer
      than the one nearest to the whole sample.
    total_variation: between the futures chosen by the first 30 samples and
      the uniform distribution.
    modes: futures chosen by the first 30 samples.
    valid_modes: of these, chosen by a valid sample.
    valid_modes_half: of these, chosen by a sample valid as in validity_half.
  """
  joint = distances.mean(-1)
  nearest = joint.argmin(-1)
  chosen = np.take_along_axis(distances, nearest[:, None, None], 1)[:, 0]
  agreement = np.mean(chosen <= distances.min(1) + 1e-6)
  first = nearest[:COVERAGE_DRAWS]
  scores = {
    'agreement': float(agreement),
    'total_variation': total_variation(first, len(futures)),
    'modes': len(set(first.tolist())),
    'validity': None,
    'valid_modes': None,
    'validity_half': None,
    'valid_modes_half': None,
  }
  gaps = _gaps(_looks(futures))
  if gaps.size:
    limits = {'': VALID_BELOW * gaps.mean(), '_half': 0.5 * gaps.min()}
    for suffix, limit in limits.items():
      valid = joint.min(-1) < limit
      chosen = set(first[valid[:COVERAGE_DRAWS]].tolist())
      scores[f'validity{suffix}'] = float(np.mean(valid))
      scores[f'valid_modes{suffix}'] = len(chosen)
  return scores


def anchors(futures: np.ndarray, num_samples: int) -> dict[str, float]:
  """What other predictors would score on one scene.

  Args:
    futures: [F, T, H, W, 3] uint8, the true one first.
    num_samples: of the model's, and so of the oracle's.

  Returns:
    pixel_mean: MSE of the mean of all futures, the best that any
      deterministic model can do.
    oracle_best_of_<n>: expected least MSE of n draws from the futures.
    oracle_total_variation, oracle_modes: in expectation, of as many draws as
      `judge` counts, 30 at most.
    oracle_kl: ln of the number of futures, the nats that tell which one it is;
      what a perfect model pays for all hidden frames without pixel noise.
  """
  unit = futures.reshape(len(futures), -1) / 255.0
  count = len(unit)
  errors = np.sort(np.mean((unit - unit[0]) ** 2, -1))
  rank = np.arange(count)
  scores = {
    'pixel_mean': float(np.mean((unit.mean(0) - unit[0]) ** 2)),
    'oracle_kl': float(np.log(len(_looks(futures)))),
  }
  for n in best_of(num_samples):
    no_better = ((count - rank) / count) ** n
    worse = ((count - rank - 1) / count) ** n
    scores[f'oracle_best_of_{n}'] = float(errors @ (no_better - worse))
  draws = coverage_draws(num_samples)
  return scores | {
    'oracle_total_variation': uniform_total_variation(draws, count),
    'oracle_modes': uniform_coverage(draws, count),
  }


def _looks(futures: np.ndarray) -> np.ndarray:
  """Futures [F, ...] as rows [N, D] in [0, 1], those that look the same once.

  Futures differ somewhere in the hidden frames, but perhaps not in a part of
  them.
  """
  looks = {future.tobytes(): future for future in futures}
  return np.stack([future.ravel() for future in looks.values()]) / 255.0


def _gaps(looks: np.ndarray) -> np.ndarray:
  """MSE of each pair of N different futures [N, D]: [N (N - 1) / 2]."""
  square = np.sum(looks**2, -1)
  gaps = square[:, None] + square[None] - 2 * looks @ looks.T
  return gaps[np.triu_indices(len(looks), 1)] / looks.shape[-1]
