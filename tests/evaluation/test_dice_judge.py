"""The dice as judge: truth, triples that do not belong together, blurs."""

from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.data import protocols
from cgqn_jax.data.examples import Example
from cgqn_jax.evaluation import dice_judge
from cgqn_jax.simulators import dice

IDS, SIDES, SIZE, SAMPLES = (0, 1), (2, 3), 32, 1
CLASSES = dice.STYLES['default'].classes


def cameras(room, side):
  """The three views that show most of a side."""
  shown = np.asarray(dice.face_pixels(room, SIZE, SAMPLES))[:, side]
  return room.cameras[np.argsort(shown)[-3:]]


@pytest.fixture(scope='module')
def views() -> np.ndarray:
  rooms = [dice.sample('test', example_id) for example_id in IDS]
  return np.stack([cameras(*pair) for pair in zip(rooms, SIDES, strict=True)])


@pytest.fixture(scope='module')
def renders(views) -> np.ndarray:
  """Three views of a side of 2 rooms with each digit, at 32x32."""
  return dice_judge.possible_digits('test', IDS, views, SIDES, SIZE, SAMPLES)


def toy(count: int = 100, frames: int = 3) -> np.ndarray:
  """Digits that light up a pixel of their own, in every view."""
  renders = np.zeros((count, frames, 1, count + 1, 3), np.uint8)
  for d in range(count):
    renders[d, :, 0, d] = 255
  return renders


def names(digits: np.ndarray) -> dice_judge.Names:
  """Perfectly legible samples of digits [S, T]."""
  return dice_judge.Names(
    digits,
    np.zeros(digits.shape),
    np.ones(digits.shape[1]),
    np.ones(digits.shape, bool),
  )


def judge(named: dice_judge.Names) -> dict[str, float]:
  """Scores of the 100 digits."""
  return dice_judge.judge(named, CLASSES)


@pytest.fixture(scope='module', params=['default', 'calm'])
def room(request) -> tuple[dice.Style, dice.Room, int, np.ndarray]:
  """A room of each style and its views by the protocol, with each digit."""
  style = dice.STYLES[request.param]
  room = dice.sample('validation', 2, style=style)
  pixels = np.asarray(dice.face_pixels(room, SIZE, SAMPLES))
  views = protocols.PROTOCOLS['hidden_side'].for_tables(
    ConfigDict({'data': {'frame_size': SIZE}}),
    Example(None, None, room.cameras, 2, pixels),
  )
  room = room._replace(cameras=room.cameras[views.targets])
  renders = dice_judge.possible_digits(
    'validation',
    [2],
    room.cameras[None],
    [views.hidden_side],
    SIZE,
    SAMPLES,
    style,
  )
  return style, room, views.hidden_side, renders[0]


def test_only_the_digit_of_the_side_changes(renders, views):
  assert renders.shape == (2, 100, 3, 32, 32, 3) and renders.dtype == np.uint8
  for b, example_id in enumerate(IDS):
    room = dice.sample_batch('test', [example_id])
    room = room._replace(cameras=views[b][None])
    truth = np.asarray(dice.render_batch(room, SIZE, SAMPLES).frames[0])
    faces = renders[b, room.digits[0, SIDES[b]]].astype(int)
    difference = np.abs(faces - truth)
    assert np.mean(difference > 0) < 1e-3 and difference.max() <= 4
    for t in range(3):
      assert len({frame.tobytes() for frame in renders[b, :, t]}) == 100
      changed = np.any(renders[b, :, t] != renders[b, 0, t], axis=(0, -1))
      assert 30 < changed.sum() < 32 * 32 / 3


def test_the_truth_is_named_without_exception(renders):
  for faces in renders:
    named = dice_judge.name(faces, faces)
    every = np.repeat(np.arange(100)[:, None], 3, 1)
    np.testing.assert_array_equal(named.digits, every)
    np.testing.assert_allclose(named.errors, 0, atol=1e-12)
    scores = judge(named)
    assert scores['agreement'] == scores['class_agreement'] == 1
    assert (
      scores['legible_agreement_blur'] == 1 and scores['legibility_error'] == 0
    )
    noise = np.random.default_rng(0).normal(0, 0.02, faces.shape)
    scores = judge(dice_judge.name(faces / 255 + noise, faces))
    assert scores['agreement'] > 0.95 and scores['legible_agreement_blur'] > 0.9
    assert 0 < scores['legibility_error'] < 0.1


def test_triples_drawn_independently_agree_by_chance(renders):
  """1 in 10,000 name the same digit, 1 in 100 the same class."""
  rng = np.random.default_rng(0)
  faces = renders[0]
  drawn = rng.integers(0, 100, (600, 3))
  read = dice_judge.name(faces[drawn, np.arange(3)], faces)
  np.testing.assert_array_equal(read.digits, drawn)
  # What each view is called is known now: the rates of many more.
  called = dice_judge.name(faces, faces).digits
  count = 600_000
  many = called[rng.integers(0, 100, (count, 3)), np.arange(3)]
  scores = judge(names(many))
  for metric, chance in (('agreement', 1e-4), ('class_agreement', 1e-2)):
    assert dice_judge.chance(100)[f'chance_{metric}'] == pytest.approx(chance)
    deviation = np.sqrt(chance * (1 - chance) / count)
    assert deviation < 0.15 * chance
    assert abs(scores[metric] - chance) < 4 * deviation
  pairs = np.mean(many[:, 0] == many[:, 1])
  assert abs(pairs - 1e-2) < 4 * np.sqrt(1e-2 / count)


def test_agreement_by_hand():
  renders = toy()
  drawn = np.array([[7, 7, 7], [7, 7, 8], [40, 49, 41], [9, 10, 9]])
  scores = judge(dice_judge.name(renders[drawn, np.arange(3)], renders))
  assert scores['agreement'] == scores['legible_agreement_blur'] == 1 / 4
  assert scores['class_agreement'] == 3 / 4
  # In the three views 7 7 40 9, 7 7 49 10 and 7 8 41 9.
  assert scores['digits'] == pytest.approx((3 + 3 + 4) / 3)
  assert scores['classes'] == pytest.approx((2 + 3 + 2) / 3)
  # Of the classes' shares from a tenth each: 0.9 - what is above a tenth.
  expected = np.mean([0.65 + 0.15, 0.4 + 0.15 + 0.15, 0.65 + 0.15])
  assert scores['class_total_variation'] == pytest.approx(expected)


def test_errors_by_hand():
  """Two digits differ by 6 values of 1; half a digit lacks 3 quarters."""
  renders = toy()
  half = renders[5:6] / 510.0
  named = dice_judge.name(half, renders)
  assert named.digits.tolist() == [[5, 5, 5]]
  np.testing.assert_allclose(named.errors, 3 / 4 / 6)
  mean = 3 * (0.99**2 + 99 * 0.01**2) / 6
  np.testing.assert_allclose(named.blur, mean)


def test_errors_elsewhere_hide_nothing(renders):
  faces = renders[1]
  samples = faces[10:20] / 255.0
  same = np.all(faces == faces[0], axis=(0, -1))
  worse = np.where(same[..., None], 1 - samples, samples)
  assert np.mean((worse - samples) ** 2) > 0.01
  for one, other in zip(
    dice_judge.name(samples, faces), dice_judge.name(worse, faces), strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_a_blur_may_agree_but_is_not_legible(renders):
  """It is the same blur in every view."""
  for faces in renders:
    blur = np.repeat(faces.mean(0, keepdims=True) / 255, 5, 0)
    scores = judge(dice_judge.name(blur, faces))
    assert scores['legible_agreement_blur'] == 0
    assert scores['digits'] == 1 and 0.1 < scores['legibility_error'] < 0.5
    black = judge(dice_judge.name(0 * blur, faces))
    assert (
      black['legible_agreement_blur'] == 0 and black['legibility_error'] > 1
    )


def test_anchors(renders):
  faces = renders[0]
  scores = dice_judge.anchors(faces[3], faces, CLASSES, 100)
  assert (
    scores['truth_agreement'] == scores['truth_legible_agreement_blur'] == 1
  )
  assert scores['truth_legibility_error'] == 0
  assert scores['blur_legible_agreement_blur'] == 0
  assert 0.1 < scores['blur_legibility_error'] < 0.5
  assert scores['oracle_digits'] == pytest.approx(26.03, abs=0.005)
  assert scores['oracle_classes'] == pytest.approx(9.576, abs=0.0005)
  few = dice_judge.anchors(faces[3], faces, CLASSES, 1)
  assert few['oracle_digits'] == pytest.approx(1)
  assert few['oracle_class_total_variation'] == pytest.approx(0.9)


def test_only_the_first_30_samples_count_for_the_coverage():
  digits = np.repeat(np.arange(100)[:, None], 3, 1)
  scores = judge(names(np.concatenate([0 * digits[:30], digits])))
  assert (scores['digits'], scores['classes']) == (1, 1)
  assert scores['class_total_variation'] == pytest.approx(0.9)


def test_views_that_disagree_are_no_variety():
  """Every sample shows digits 1, 50 and 99 in its three views."""
  scores = judge(names(np.array([[1, 50, 99]] * 30)))
  assert (scores['agreement'], scores['digits']) == (0, 1)


def test_true_views_are_legible(renders, room):
  every = [*renders, room[-1]]
  for faces in every:
    named = dice_judge.name(faces, faces)
    assert named.legible.mean() > 0.99
  assert len(room[-1]) == len(room[0].digits)


def test_stains_are_not_legible(room):
  """Engraved like a digit: round, upright, flat, or the mean of all digits."""
  style, shown, side, renders = room
  y, x = np.mgrid[:28, :28] - 13.5
  stains = [
    255 * np.exp(-0.5 * ((x / wide) ** 2 + (y / high) ** 2))
    for wide, high in ((5, 5), (4, 7), (9, 9))
  ]
  stains += [255.0 * (x**2 / 36 + y**2 / 64 < 1), dice.digits().mean(0)]
  images = np.concatenate([dice.digits(), np.array(stains).astype(np.uint8)])
  rooms = dice.stack([shown] * len(stains))
  rooms = dice.with_digits(rooms, side, 100 + np.arange(len(stains)))
  frames = dice.render_batch(rooms, SIZE, SAMPLES, images).frames
  named = dice_judge.name(np.asarray(frames), renders)
  assert not named.legible.any()
  scores = dice_judge.judge(named, style.classes)
  assert scores['legible'] == scores['legible_thrice'] == 0
  assert scores['legible_same'] == scores['legible_digits'] == 0
  assert scores['digits'] >= 1  # for each has a nearest


def test_blends_of_two_digits_are_not_legible(room):
  style, _, _, renders = room
  count = len(renders)
  rng = np.random.default_rng(0)
  one = rng.integers(0, count, 300)
  other = (one + rng.integers(1, count, 300)) % count
  blend = (renders[one] / 255 + renders[other] / 255) / 2
  assert dice_judge.name(blend, renders).legible.mean() < 0.02
  if count == 10:
    assert not dice_judge.name(blend, renders).legible.any()
  # Nor is a digit of which less than half is there.
  pale = 0.4 * renders / 255 + 0.6 * renders.mean(0) / 255
  assert dice_judge.name(pale, renders).legible.mean() < 0.01
  clear = 0.8 * renders / 255 + 0.2 * renders.mean(0) / 255
  assert dice_judge.name(clear, renders).legible.mean() > 0.98


def test_legible_by_hand():
  """Pale digits, and two that differ by one value alone."""
  renders = toy()
  for strength, legible in ((1.0, True), (0.8, True), (0.5, False)):
    named = dice_judge.name(strength * renders[5:6] / 255, renders)
    assert named.digits.tolist() == [[5, 5, 5]]
    assert named.legible.tolist() == [[legible] * 3]
  # exp(-0.2**2 / 0.004) to 1, and exp(-0.08**2 / 0.004) = 0.2 to 1.
  for value, legible in ((51, True), (20, False)):
    renders = np.zeros((3, 1, 1, 3, 3), np.uint8)
    renders[1, ..., 0, 0], renders[2, ..., 1:, :] = value, 255
    named = dice_judge.name(renders[:1], renders)
    assert named.digits == [[0]] and named.errors == [[0]]
    assert named.legible.tolist() == [[legible]]


def test_legible_scores_by_hand():
  digits = np.array([[7, 7, 7], [7, 7, 8], [40, 40, 40], [9, 9, 9]])
  legible = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 0]], bool)
  scores = judge(names(digits)._replace(legible=legible))
  assert scores['legible'] == pytest.approx(8 / 12)
  assert scores['legible_thrice'] == 2 / 4 and scores['legible_same'] == 1 / 4
  # In the three views 7 7 40, 7 7 and 7 8 40.
  assert scores['legible_digits'] == pytest.approx((2 + 1 + 3) / 3)
  assert scores['digits'] == pytest.approx((3 + 3 + 4) / 3)


def test_ten_digits_of_a_class_each():
  classes = dice.STYLES['calm'].classes
  assert classes.tolist() == list(range(10))
  renders = toy(10)
  scores = dice_judge.judge(dice_judge.name(renders, renders), classes)
  assert scores['digits'] == scores['classes'] == scores['legible_digits'] == 10
  assert scores['class_total_variation'] == pytest.approx(0)
  anchors = dice_judge.anchors(renders[3], renders, classes, 100)
  expected = 10 * (1 - 0.9**30)
  assert anchors['oracle_digits'] == pytest.approx(expected)
  assert anchors['oracle_digits'] == pytest.approx(anchors['oracle_classes'])
  assert anchors['truth_legible_same'] == 1 and anchors['blur_legible'] == 0
  chance = dice_judge.chance(10)
  assert chance['chance_agreement'] == chance['chance_class_agreement'] == 0.01
