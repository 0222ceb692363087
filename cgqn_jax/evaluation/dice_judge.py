"""The dice simulator judges samples: which digit does each view show?

The views of the hidden side are rendered again with each of the D digits that
the rooms may show (100, or one of each class), and a sampled view is named
after the nearest. Only pixels that the digit changes are compared, so an error
elsewhere in the room hides nothing. Every sample has a nearest digit, a stain
too; the judge reads it only if the view is legible.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.spatial import distance

from cgqn_jax.evaluation.metrics import (
  COVERAGE_DRAWS,
  coverage_draws,
  total_variation,
  uniform_coverage,
  uniform_total_variation,
)
from cgqn_jax.models.densities import LOG_TWO_PI
from cgqn_jax.simulators import dice

CLASSES = 10  # of equally many digits each
# A view is read as a digit if its posterior is at least this, under Gaussian
# noise of this variance on every value of [0, 1] (11 of 255 levels) and equally
# likely digits. At 32x32 the noise leaves 99.7 % of the true views of the 100
# digits legible; at 0.01, 95 %: some differ by little in a slanted view.
READ_VARIANCE, READ_POSTERIOR = 0.002, 0.9
# The posterior finds the nearest digit of anything. So the view's error to it
# must also be below this share of the error to the mean over digits.
READ_ERROR = 0.5
ANCHORED = (
  'agreement',
  'class_agreement',
  'legible',
  'legible_thrice',
  'legible_same',
  'legible_agreement_blur',
  'legibility_error',
)


class Names(NamedTuple):
  """What S sampled triples of one scene show, in each of T views.

  digits: [S, T] the nearest of the D digits.
  errors: [S, T] MSE to it, in units of the MSE between two digits in that
    view (the median over all pairs). 0 is a digit.
  blur: [T] the error of the mean of all digits, which is none.
  legible: [S, T] whether the view reads as that digit.
  """

  digits: np.ndarray
  errors: np.ndarray
  blur: np.ndarray
  legible: np.ndarray


def possible_digits(
  split: str,
  example_ids: Sequence[int],
  cameras: np.ndarray,
  sides: np.ndarray,
  frame_size: int,
  supersampling: int,
  style: dice.Style = dice.STYLES['default'],
) -> np.ndarray:
  """Renders the same views with each digit on one side of the cube.

  Args:
    split: of the scenes.
    example_ids: B ids.
    cameras: [B, T, 7] views.
    sides: [B] the face whose digit changes, 0 to 3.
    frame_size: H = W.
    supersampling: S of the S x S rays per pixel, as of the scenes' frames.
    style: of the rooms; its D digits are those that the side may show.

  Returns:
    [B, D, T, H, W, 3] uint8.
  """
  frames = []
  for example_id, seen_from, side in zip(
    example_ids, cameras, sides, strict=True
  ):
    room = dice.sample(split, int(example_id), style=style)
    room = room._replace(cameras=np.asarray(seen_from))
    rooms = dice.stack([room] * len(style.digits))
    rooms = dice.with_digits(rooms, int(side), np.array(style.digits))
    views = dice.render_batch(rooms, frame_size, supersampling)
    frames.append(np.asarray(views.frames))
  return np.stack(frames)


def name(frames: np.ndarray, renders: np.ndarray) -> Names:
  """Names the digit that each view shows.

  Args:
    frames: [S, T, H, W, 3] samples, uint8 or floats (clipped to [0, 1]).
    renders: [D, T, H, W, 3] uint8, the same views with each digit.
  """
  if frames.dtype == np.uint8:
    frames = frames / 255.0
  digits, errors, blur, legible = [], [], [], []
  for t in range(renders.shape[1]):
    view = renders[:, t]
    changed = np.any(view != view[0], axis=(0, -1))
    known = view[:, changed].reshape(len(view), -1) / 255.0
    shown = np.clip(frames[:, t][:, changed], 0, 1).reshape(len(frames), -1)
    squared = distance.cdist(shown, known, 'sqeuclidean')
    scale = np.median(distance.pdist(known, 'sqeuclidean'))
    digits.append(squared.argmin(1))
    errors.append(squared.min(1) / scale)
    mean = known.mean(0, keepdims=True)
    blur.append(distance.cdist(mean, known, 'sqeuclidean').min() / scale)
    posterior = special.softmax(-0.5 * squared / READ_VARIANCE, axis=1)
    to_mean = distance.cdist(shown, mean, 'sqeuclidean')[:, 0]
    legible.append(
      (posterior.max(1) >= READ_POSTERIOR)
      & (squared.min(1) < READ_ERROR * to_mean)
    )
  return Names(
    np.stack(digits, 1),
    np.stack(errors, 1),
    np.array(blur),
    np.stack(legible, 1),
  )


def judge(names: Names, classes: np.ndarray) -> dict[str, float]:
  """Scores the samples of one scene.

  Args:
    names: of S samples.
    classes: [D] of the digits.

  Returns:
    legibility_error: mean of `Names.errors`.
    agreement: share of samples whose views are all nearest to the same digit.
    class_agreement: ... to digits of the same class.
    legible_agreement_blur: ... to the same digit, with less error than a blur,
      which may well agree with itself.
    legible: share of views that are legible.
    legible_thrice: share of samples whose views are all legible.
    legible_same: ... and show one digit.
    digits, classes: how many the first 30 samples show, in a view.
    legible_digits: the same of digits, of legible views alone.
    class_total_variation: between the classes that they show in a view and
      the uniform distribution. These four are means over the views, so that
      views that disagree do not count as variety.
  """
  rows = [
    (
      len(set(digits)),
      len(set(digits[legible])),
      len(set(classes[digits])),
      total_variation(classes[digits], CLASSES),
    )
    for digits, legible in zip(
      names.digits[:COVERAGE_DRAWS].T,
      names.legible[:COVERAGE_DRAWS].T,
      strict=True,
    )
  ]
  covered = np.mean(rows, 0)
  same, thrice = _all_equal(names.digits), names.legible.all(1)
  sharp = np.all(names.errors < (1 - 1e-6) * names.blur, axis=1)
  return {
    'legibility_error': float(names.errors.mean()),
    'agreement': float(np.mean(same)),
    'class_agreement': float(np.mean(_all_equal(classes[names.digits]))),
    'legible_agreement_blur': float(np.mean(same & sharp)),
    'legible': float(names.legible.mean()),
    'legible_thrice': float(np.mean(thrice)),
    'legible_same': float(np.mean(same & thrice)),
    'digits': float(covered[0]),
    'legible_digits': float(covered[1]),
    'classes': float(covered[2]),
    'class_total_variation': float(covered[3]),
  }


def chance(count: int) -> dict[str, float]:
  """Agreement of three views that have nothing to do with each other.

  Args:
    count: D, of the digits.
  """
  return {
    'chance_agreement': 1 / count**2,
    'chance_legible_agreement': 1 / count**2,
    'chance_legible_agreement_blur': 1 / count**2,
    'chance_class_agreement': 1 / CLASSES**2,
  }


def anchors(
  truth: np.ndarray, renders: np.ndarray, classes: np.ndarray, num_samples: int
) -> dict[str, float]:
  """What other predictors would score on one scene.

  Args:
    truth: [T, H, W, 3] uint8.
    renders: [D, T, H, W, 3] uint8, the same views with each digit.
    classes: [D] of the digits.
    num_samples: S of the samples beside which this stands.

  Returns:
    truth_*: of the true views.
    blur_*: of the mean of the renders, which no sample should be.
    oracle_*: of a sampler that draws digits uniformly, in expectation.
  """
  blur = renders.mean(0, keepdims=True) / 255.0
  shown = {'truth': truth[None], 'blur': blur}
  scores = {}
  for which, frames in shown.items():
    read = judge(name(frames, renders), classes)
    scores |= {f'{which}_{metric}': read[metric] for metric in ANCHORED}
  draws = coverage_draws(num_samples)
  return scores | {
    'oracle_digits': uniform_coverage(draws, len(renders)),
    'oracle_classes': uniform_coverage(draws, CLASSES),
    'oracle_class_total_variation': uniform_total_variation(draws, CLASSES),
  }


def _all_equal(labels: np.ndarray) -> np.ndarray:
  """[S, T] -> [S]."""
  return np.all(labels == labels[:, :1], axis=1)


class Oracle(NamedTuple):
  """What a perfect model pays, in nats, under a uniform prior over D digits.

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
    """Joint minus factored: (T - 1) ln D as the variance goes to 0."""
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
