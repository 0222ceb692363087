"""The rooms with a die: golden examples, their digits, what cameras can see."""

import hashlib

import chex
import numpy as np
from PIL import Image
import pytest

from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice import textures
from cgqn_jax.simulators.dice.digits import PATH

# Of digits and textures of train 0 .. 15 and test 0 .. 15.
GOLDEN_INTEGERS = 'a742568574b5028f'
# Of train 0, rounded to 1e-4: cube, light, cube's color, and the places of the
# first and the last camera.
GOLDEN_FLOATS = (
  0.1226, -0.0955, 5.4699, -0.2110, 0.7553, 1.1454, 0.4006, 0.6682, 0.6674,
  0.9118, 0.8550, 0.6500, -1.1820, -0.4066, 0.6500,
)  # fmt: skip


def forward(cameras: np.ndarray) -> np.ndarray:
  sin, cos, sin_pitch, cos_pitch = np.moveaxis(cameras[..., 3:], -1, 0)
  return np.stack([cos * cos_pitch, sin * cos_pitch, sin_pitch], axis=-1)


def corners(cube: np.ndarray) -> np.ndarray:
  """The corners of dice: [B, 8, 3]."""
  signs = np.stack(np.meshgrid(*[(-1, 1)] * 3), -1).reshape(-1, 3)
  x, y, yaw = (column[:, None] for column in cube.astype(np.float64).T)
  u, v, w = 0.25 * signs.T
  return np.stack(
    [
      x + u * np.cos(yaw) - v * np.sin(yaw),
      y + u * np.sin(yaw) + v * np.cos(yaw),
      np.broadcast_to(w + 0.25, (len(cube), 8)),
    ],
    axis=-1,
  )


def test_golden():
  digest = hashlib.sha256()
  for split in ('train', 'test'):
    for i in range(16):
      room = dice.sample(split, i)
      for array in (room.digits, room.texture):
        digest.update(array.astype('<i4').tobytes())
  assert digest.hexdigest()[:16] == GOLDEN_INTEGERS
  room = dice.sample('train', 0)
  places = room.cameras[[0, -1], :3]
  floats = [room.cube, room.light, room.colors[5], *places]
  np.testing.assert_allclose(np.concatenate(floats), GOLDEN_FLOATS, atol=6e-5)


def test_calm_rooms_are_the_default_ones_painted_over():
  """The first of each class, no pattern, all else alike."""
  style, ids = dice.STYLES['calm'], range(40)
  assert list(style.digits) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
  calm = dice.sample_batch('train', ids, style=style)
  rooms = dice.sample_batch('train', ids)
  np.testing.assert_array_equal(calm.digits, rooms.digits // 10 * 10)
  assert set(calm.digits.ravel()) == set(style.digits)
  assert not calm.textures.any() and not calm.texture.any()
  for field in ('cameras', 'cube', 'light', 'colors', 'example_id'):
    np.testing.assert_array_equal(getattr(calm, field), getattr(rooms, field))
  coarse = dice.sample_batch('train', ids, style=dice.STYLES['s2'])
  chex.assert_trees_all_equal(coarse, rooms)


def test_a_room_needs_no_other_and_ids_have_no_end():
  ids = [3, 97_999, 98_000, 2**40]
  batch = dice.sample_batch('validation', ids)
  for i, example_id in enumerate(ids):
    alone = dice.sample('validation', np.int64(example_id))
    assert alone.example_id == example_id
    chex.assert_trees_all_equal(alone, dice.Room(*(x[i] for x in batch)))
  assert len({batch.cube[i].tobytes() for i in range(len(ids))}) == 4
  one, other = (dice.sample(s, 3) for s in ('train', 'test'))
  assert one.cube.tobytes() != other.cube.tobytes()


def test_what_a_room_holds():
  rooms = dice.sample_batch('train', range(200))
  shapes = {
    'cameras': ((20, 7), np.float32),
    'cube': ((3,), np.float32),
    'light': ((3,), np.float32),
    'colors': ((6, 3), np.float32),
    'texture': ((2, 2), np.int32),
    'textures': ((2, 64, 64), np.uint8),
    'digits': ((6,), np.int32),
    'example_id': ((), np.int64),
  }
  assert rooms._fields == tuple(shapes)
  for field, (shape, dtype) in shapes.items():
    array = getattr(rooms, field)
    assert array.shape == (200, *shape) and array.dtype == dtype, field
  assert set(rooms.digits.ravel()) == set(range(100))
  assert set(map(tuple, rooms.texture.reshape(-1, 2))) == {
    (kind, frequency) for kind in range(7) for frequency in range(3)
  }
  assert np.abs(rooms.cube[:, :2]).max() <= 0.15
  assert 0 <= rooms.colors.min() and rooms.colors.max() <= 0.95 + 1e-6
  # Wall, floor, ceiling, cube: how bright, and how colorful.
  value = rooms.colors.max(-1)
  saturation = 1 - rooms.colors.min(-1) / value
  assert 0.5 <= value[:, [0, 2]].min() and 0.3 <= saturation[:, [0, 2]].min()
  assert 0.6 <= value[:, 5].min() and saturation[:, 5].max() <= 0.7 + 1e-6
  assert 0.7 <= value[:, 4].min() and saturation[:, 4].max() <= 0.2 + 1e-6


def test_other_views_and_digits_of_the_same_room():
  room, few = (dice.sample('train', 5, n) for n in (20, 4))
  assert few.cameras.shape == (4, 7)
  for field in set(room._fields) - {'cameras'}:
    np.testing.assert_array_equal(getattr(room, field), getattr(few, field))
  style = dice.Style(digits=range(60_000))
  many = dice.sample_batch('train', range(50), style=style)
  assert 50_000 < many.digits.max() < 60_000
  np.testing.assert_array_equal(many.cube[5], room.cube)


def test_cameras_stand_on_the_ring_and_look_at_the_middle():
  cameras = dice.sample_batch('train', range(50)).cameras
  for poses in (cameras, dice.turntable(9)):
    place = poses[..., :3]
    ring = np.hypot(place[..., 0], place[..., 1])
    np.testing.assert_allclose(ring, 1.25, rtol=1e-6)
    np.testing.assert_allclose(place[..., 2], 0.65, rtol=1e-6)
    ahead = np.array([0, 0, 0.25]) - place
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
    np.testing.assert_allclose(forward(poses), ahead, atol=1e-6)
  turns = np.arctan2(cameras[..., 1], cameras[..., 0]) / (2 * np.pi) % 1
  # One in each of 20 equal arcs that begin anywhere, in any order.
  for turn in turns:
    turn = np.sort(turn)
    gaps = np.diff([*turn, turn[0] + 1])
    assert gaps.max() <= 2 / 20 + 1e-6
  assert (turns.argsort() != np.arange(20)).mean() > 0.8
  table = dice.turntable(9)
  steps = np.diff(np.unwrap(np.arctan2(table[:, 1], table[:, 0])))
  np.testing.assert_allclose(steps, 2 * np.pi / 9, atol=1e-5)


def test_the_die_is_never_cropped():
  rooms = dice.sample_batch('test', range(300))
  point = corners(rooms.cube)[:, None] - rooms.cameras[:, :, None, :3]
  ahead = forward(rooms.cameras)[:, :, None]
  right = np.cross(ahead, (0, 0, 1))
  right /= np.linalg.norm(right, axis=-1, keepdims=True)
  up = np.cross(right, ahead)
  depth = (point * ahead).sum(-1) * np.tan(np.deg2rad(54 / 2))
  x, y = ((point * axis).sum(-1) / depth for axis in (right, up))
  assert 0.9 < max(np.abs(x).max(), np.abs(y).max()) < 0.998
  width = 32 * (x.max(-1) - x.min(-1))
  assert 24 < width.min() and width.max() < 44


def test_every_side_can_be_the_hidden_one():
  rooms = dice.sample_batch('train', range(100))
  pixels = np.asarray(dice.face_pixels(rooms, 64, 2))[..., : dice.NUM_SIDES]
  shown, hidden = (pixels >= 150).sum(1), (pixels == 0).sum(1)
  assert shown.min() >= 3 and hidden.min() >= 9
  assert 7 < shown.mean() < 8.5 and 11 < hidden.mean() < 12


def test_the_digits():
  digits = dice.digits()
  assert digits.shape == (100, 28, 28) and digits.dtype == np.uint8
  assert dice.digits() is digits and not digits.flags.writeable
  # The first zero of MNIST.
  assert digits[0, 4, 15:20].tolist() == [51, 159, 253, 159, 50]


def test_wrong_digits_are_told(tmp_path):
  path = tmp_path / 'digits.png'
  picture = np.array(Image.open(PATH))
  picture[100, 100] ^= 1
  Image.fromarray(picture).save(path)
  with pytest.raises(ValueError, match='does not hold the 100 MNIST') as error:
    dice.digits(path)
  assert str(path) in str(error.value) and '\n' not in str(error.value)
  Image.fromarray(picture[:100]).save(path)
  with pytest.raises(ValueError, match='not 1aff468cff7c; install cgqn_jax'):
    dice.digits(path)
  path.write_text('version https://git-lfs.github.com/spec/v1')
  with pytest.raises(ValueError, match='cannot be read') as error:
    dice.digits(path)
  assert '\n' not in str(error.value)


def test_textures_tile_the_plane():
  waves = np.random.default_rng(0).random((textures.NUM_WAVES, 2))
  for kind, name in enumerate(textures.KINDS):
    for frequency in range(3):
      level = textures.texture(kind, frequency, waves).astype(int)
      assert level.shape == (64, 64)
      assert (level.std() > 20) == (name != 'plain')
      for axis in (0, 1):  # no seam where two tiles meet
        steps = np.abs(level - np.roll(level, 1, axis)).mean(1 - axis)
        assert steps[0] <= steps.max()
        if name == 'noise':
          assert steps[0] < 1.6 * steps.mean()
  repeats = textures.texture(2, 0, waves)
  np.testing.assert_array_equal(repeats, np.roll(repeats, 32, 1))


def test_with_digits():
  rooms = dice.sample_batch('train', range(3))
  one = dice.with_digits(rooms, 2, 42)
  assert (one.digits[:, 2] == 42).all() and one.digits.dtype == np.int32
  others = [0, 1, 3, 4, 5]
  np.testing.assert_array_equal(one.digits[:, others], rooms.digits[:, others])
  each = dice.with_digits(rooms, np.array([0, 1, 3]), np.array([7, 8, 9]))
  assert each.digits[range(3), [0, 1, 3]].tolist() == [7, 8, 9]
  assert (each.digits != rooms.digits).sum() == 3
  room = dice.with_digits(dice.sample('train', 1), 3, 99)
  assert room.digits[3] == 99 and room.digits.shape == (6,)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('valid', 0), "split is 'valid'; it must be one of"),
    (('train', -1), 'example_id is -1; it must be 0 to'),
    (('train', 2**63), 'example_id is 9223372036854775808; it must'),
    (('train', 0, 0), 'num_views is 0; it must be at least 1'),
  ],
)
def test_errors(arguments, message):
  with pytest.raises(ValueError, match=message):
    dice.sample(*arguments)
