"""The simulator as judge: perfect, trivial and factored predictors."""

import numpy as np
import pytest

from cgqn_jax.evaluation import narrative_judge
from cgqn_jax.simulators import narratives

SEEN, HIDDEN = range(6), range(6, 21)


@pytest.fixture(scope='module')
def scenes():
  """The futures of 3 Traveling Salesman scenes after 6 frames, at 32x32."""
  return narrative_judge.possible_futures(
    'traveling_salesman', 'test', [0, 1, 2], SEEN, HIDDEN, 32
  )


def distances(samples: np.ndarray, futures: np.ndarray) -> np.ndarray:
  """[S, T, ...] and [F, T, ...] -> [S, F, T] MSE."""
  difference = samples[:, None] / 255.0 - futures / 255.0
  return np.mean(difference**2, axis=(-3, -2, -1))


def score(samples: np.ndarray, futures: np.ndarray) -> dict:
  return narrative_judge.judge(distances(samples, futures), futures)


def toy(count: int, frames: int = 4) -> np.ndarray:
  """Futures of which each lights up a pixel of its own in every frame."""
  futures = np.zeros((count, frames, 1, count, 3), np.uint8)
  for n in range(count):
    futures[n, :, 0, n] = 255
  return futures


def test_possible_futures(scenes):
  frames, counts = scenes
  assert frames.dtype == np.uint8 and frames.shape[1:] == (6, 15, 32, 32, 3)
  assert counts.tolist() == [6, 6, 6]
  for b in range(3):
    story = narratives.sample('traveling_salesman', 'test', b)
    truth = narratives.render(story, 32)[list(HIDDEN)].astype(int)
    difference = np.abs(frames[b, 0] - truth)  # the true one is first
    assert np.mean(difference > 0) < 1e-3 and difference.max() <= 4
    assert len({future.tobytes() for future in frames[b]}) == 6


def test_scenes_with_fewer_futures_are_filled_up():
  hidden = [2, 11, 20]
  frames, counts = narrative_judge.possible_futures(
    'color_relay', 'test', range(4), [0, 1], hidden, 16
  )
  assert counts.tolist() == [18, 16, 18, 16]
  assert frames.shape == (4, 18, 3, 16, 16, 3)
  for its, count in zip(frames, counts, strict=True):
    for filled in its[count:]:
      np.testing.assert_array_equal(filled, its[0])
    assert np.any(its[1] != its[0])


def test_true_futures_are_judged_perfect(scenes):
  for futures in scenes[0]:
    scores = score(np.concatenate([futures] * 5), futures)
    assert scores == {
      'agreement': 1, 'total_variation': pytest.approx(0),
      'modes': 6, 'validity': 1, 'valid_modes': 6,
      'validity_half': 1, 'valid_modes_half': 6,
    }  # fmt: skip
    only = score(np.stack([futures[2]] * 30), futures)
    assert (only['validity'], only['agreement']) == (1, 1)
    assert (only['modes'], only['valid_modes']) == (1, 1)
    assert only['total_variation'] == pytest.approx(5 / 6)


def test_a_little_noise_is_still_valid(scenes):
  futures = scenes[0][0]
  noise = np.random.default_rng(0).normal(0, 5, (6, *futures.shape[1:]))
  samples = np.clip(futures + noise, 0, 255)
  scores = score(samples, futures)
  assert scores['validity'] == 1 and scores['agreement'] > 0.9


def test_the_pixel_mean_is_invalid(scenes):
  """And so is a black video: neither shows a story."""
  for futures in scenes[0]:
    for video in futures.mean(0), np.zeros(futures.shape[1:]):
      scores = score(video[None], futures)
      assert scores['validity'] == 0 and scores['valid_modes'] == 0
      assert scores['modes'] == 1


def pairs(futures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Indices of all pairs of futures, [P] each, and their MSE [P]."""
  a, b = np.triu_indices(len(futures), 1)
  difference = futures[a] / 255.0 - futures[b] / 255.0
  return a, b, np.mean(difference**2, axis=(1, 2, 3, 4))


def test_a_blend_of_two_futures_is_invalid(scenes):
  """The midpoint of any two; of two that are not near, 65 % of one."""
  for futures in scenes[0]:
    a, b, gaps = pairs(futures)
    one, other = futures[a] / 1.0, futures[b] / 1.0
    for scores in (
      score((one + other) / 2, futures),
      score((0.65 * one + 0.35 * other)[gaps >= gaps.mean()], futures),
    ):
      assert scores['validity'] == scores['valid_modes'] == 0
    # The fault of the older limit: a quarter is less than half.
    pair = gaps.argmin()
    scores = score((one[pair] + other[pair])[None] / 2, futures)
    assert scores['validity_half'] == scores['valid_modes_half'] == 1


def test_the_limits_of_validity(scenes):
  """A tenth of the mean over pairs; half of the least."""
  for futures in scenes[0]:
    gaps = pairs(futures)[-1]
    for name, limit in (
      ('validity', 0.1 * gaps.mean()),
      ('validity_half', 0.5 * gaps.min()),
    ):
      for share, valid in ((0.99, 1), (1.01, 0)):
        # The same error in all pixels, away from every other future.
        apart = np.full((1, len(futures), 15), 1.0)
        apart[0, 3] = share * limit
        assert narrative_judge.judge(apart, futures)[name] == valid, (
          name,
          share,
        )


def test_a_blend_of_two_colors_is_invalid_or_a_third_one():
  """Grey is a color too, so a stain between two may be a future."""
  futures = narrative_judge.possible_futures(
    'color_reaction', 'test', [0], [0, 3], [1, 2, *range(4, 12)], 32
  )[0][0]
  assert len(futures) == 11
  a, b, gaps = pairs(futures)
  far = np.flatnonzero(gaps >= gaps.mean())
  middle = (futures[a[far]] / 1.0 + futures[b[far]]) / 2
  refused = 0
  for pair, its in zip(far, middle, strict=True):
    apart = distances(its[None], futures)
    nearest = apart.mean(-1).argmin()
    if narrative_judge.judge(apart, futures)['validity']:
      assert nearest not in (a[pair], b[pair])
    else:
      refused += 1
  assert refused > 0.4 * len(far)


def test_futures_that_look_the_same_are_one(scenes):
  """Where only some of the hidden frames are judged; None has one look."""
  futures = np.concatenate([toy(4), toy(4)[:2]])
  # Each pair of different ones: two pixels of four.
  limit = 0.1 * 2 / 4
  for share, valid in ((0.99, 1), (1.01, 0)):
    scores = narrative_judge.judge(np.full((1, 6, 4), share * limit), futures)
    assert scores['validity'] == scores['validity_half'] - (1 - valid) == valid
  assert narrative_judge.anchors(futures, 1)['oracle_kl'] == pytest.approx(
    np.log(4)
  )
  same = np.concatenate([toy(4)[:1]] * 3)
  assert score(same, same)['validity'] is None


def test_frames_drawn_one_by_one_do_not_agree(scenes):
  """What a GQN does: each frame from a future of its own."""
  rng = np.random.default_rng(1)
  for futures in scenes[0]:
    chosen = rng.integers(0, 6, (30, 15))
    samples = futures[chosen, np.arange(15)]
    factored = score(samples, futures)
    assert factored['agreement'] < 0.75 and factored['validity'] < 0.2
    whole = score(futures[rng.integers(0, 6, 30)], futures)
    assert whole['agreement'] == whole['validity'] == 1


def test_agreement_by_hand():
  """3 of 4 frames are of future 0, one is of future 1."""
  futures = toy(3)
  sample = futures[0].copy()
  sample[2] = futures[1][2]
  assert score(sample[None], futures)['agreement'] == 0.75


def test_only_the_first_30_samples_count_for_the_modes():
  futures = toy(6, 1)
  samples = np.concatenate([futures[:1]] * 30 + [futures])
  scores = score(samples, futures)
  assert (scores['modes'], scores['valid_modes']) == (1, 1)
  assert scores['total_variation'] == pytest.approx(5 / 6)


def test_one_future_has_no_validity():
  futures = toy(1)
  scores = score(futures, futures)
  for name in 'validity', 'valid_modes', 'validity_half', 'valid_modes_half':
    assert scores[name] is None
  assert (scores['agreement'], scores['modes']) == (1, 1)
  anchors = narrative_judge.anchors(futures, 3)
  assert anchors['oracle_modes'] == 1 and anchors['oracle_kl'] == 0
  assert anchors['oracle_total_variation'] == pytest.approx(0)
  assert anchors['oracle_best_of_3'] == anchors['pixel_mean'] == 0


def test_the_oracle_draws_as_often_as_the_model(scenes):
  """Of 6 futures a perfect sampler shows all in 30 draws, not in 3."""
  futures = scenes[0][0]
  few, many, more = (
    narrative_judge.anchors(futures, count)['oracle_modes']
    for count in (3, 30, 300)
  )
  assert few == pytest.approx(6 * (1 - (5 / 6) ** 3))
  assert many == more == pytest.approx(6 * (1 - (5 / 6) ** 30))


def test_the_oracle_s_best_of_n_is_that_of_draws(scenes):
  futures = scenes[0][0]
  unit = futures / 255
  errors = np.mean((unit - unit[0]) ** 2, (1, 2, 3, 4))
  anchors = narrative_judge.anchors(futures, 10)
  rng = np.random.default_rng(0)
  for n in (1, 3, 10):
    least = errors[rng.integers(0, 6, (20_000, n))].min(1)
    error = least.std() / np.sqrt(len(least))
    assert abs(anchors[f'oracle_best_of_{n}'] - least.mean()) < 4 * error
  assert anchors['oracle_best_of_1'] == pytest.approx(errors.mean())
  mean = np.mean((unit.mean(0) - unit[0]) ** 2)
  assert anchors['pixel_mean'] == pytest.approx(mean)
  assert mean < anchors['oracle_best_of_1']
  assert anchors['oracle_kl'] == pytest.approx(np.log(6))
