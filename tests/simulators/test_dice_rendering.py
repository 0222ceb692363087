"""The frames of rooms: golden, and one against many.

After an intended change, `python tests/simulators/test_dice_rendering.py`
paints the golden pictures again; look at them.
"""

import hashlib
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice import rendering

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = {64: (4, (0, 6)), 32: (2, (1, 2))}  # S, and the examples
VIEWS = 3

PROGRAM = """
import hashlib
import numpy as np
from cgqn_jax.simulators import dice
rooms = dice.sample_batch('test', range(2), num_views=3)
views = map(np.asarray, dice.render_batch(rooms, 32, 2))
print(hashlib.sha256(b''.join(x.tobytes() for x in views)).hexdigest())
"""


def golden(size: int) -> np.ndarray:
  samples, ids = GOLDEN[size]
  rooms = dice.sample_batch('test', ids, num_views=VIEWS)
  frames = np.asarray(dice.render_batch(rooms, size, samples).frames)
  return np.concatenate(np.concatenate(frames, 1), 1)


def path_of(size: int) -> pathlib.Path:
  return ROOT / 'tests' / 'golden' / f'dice_{size}.png'


def assert_close(one: np.ndarray, other: np.ndarray) -> None:
  """At most 1 in 10,000 values differs, by at most 4."""
  difference = np.abs(np.asarray(one).astype(int) - np.asarray(other))
  assert difference.max() <= 4
  assert (difference > 0).mean() <= 1e-4


@pytest.fixture(scope='module')
def rooms() -> dice.Room:
  return dice.sample_batch('test', range(2), num_views=VIEWS)


@pytest.fixture(scope='module')
def views(rooms) -> dice.Views:
  return jax.tree.map(np.asarray, dice.render_batch(rooms, 32, 2))


@pytest.mark.parametrize('size', GOLDEN)
def test_golden(size):
  expected = np.asarray(Image.open(path_of(size)))
  frames = golden(size)
  assert frames.shape == expected.shape
  assert_close(frames, expected)


def test_one_room_is_drawn_as_in_a_batch(rooms, views):
  assert views.frames.shape == (2, 3, 32, 32, 3)
  assert views.frames.dtype == np.uint8
  assert views.face_pixels.shape == (2, 3, 6)
  assert views.face_pixels.dtype == np.uint16
  assert views.frames.std((2, 3, 4)).min() > 15, 'a blank frame'
  one = dice.render_batch(jax.tree.map(lambda x: x[1:], rooms), 32, 2)
  assert_close(one.frames, views.frames[1:])
  np.testing.assert_array_equal(one.face_pixels, views.face_pixels[1:])


def test_an_accelerator_computes_the_same(rooms, views):
  """It works on all views and rays at once."""
  caster = rendering.Caster(32, 2, lambda f, xs: jax.vmap(f)(xs))
  seen = [jnp.asarray(x[0]) for x in rendering._seen(rooms, None)]
  other = jax.jit(lambda seen: rendering._render(caster, seen))(seen)
  assert_close(other.frames, views.frames[0])
  np.testing.assert_array_equal(other.face_pixels, views.face_pixels[0])


def test_another_process_computes_the_same(views):
  digest = hashlib.sha256(b''.join(x.tobytes() for x in views)).hexdigest()
  result = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == digest


@pytest.mark.parametrize(
  ('size', 'samples', 'batches'), [(32, 2, 12), (17, 3, 4)]
)
def test_faces_are_counted_alike_without_frames(size, samples, batches):
  for first in range(0, 2 * batches, 2):
    ids = range(first, first + 2)
    rooms = dice.sample_batch('train', ids, num_views=VIEWS)
    seen = dice.render_batch(rooms, size, samples).face_pixels
    alone = np.asarray(dice.face_pixels(rooms, size, samples))
    np.testing.assert_array_equal(seen, alone)
    assert alone[..., 4].all() and not alone[..., 5].any()
  room = dice.sample('train', first, num_views=VIEWS)
  one = dice.face_pixels(room, size, samples)
  np.testing.assert_array_equal(one, alone[0])


def test_one_ray_is_enough_to_see_a_face():
  counts = np.array([0, 1, 16, 17, 2**14])
  assert rendering._pixels(counts, 4).tolist() == [0, 1, 1, 2, 1024]


def test_a_digit_shows_on_its_face_only(rooms, views):
  for face in range(dice.NUM_SIDES):
    digit = (rooms.digits[:, face] + 37) % 100
    other = dice.render_batch(dice.with_digits(rooms, face, digit), 32, 2)
    np.testing.assert_array_equal(other.face_pixels, views.face_pixels)
    changed = (np.asarray(other.frames) != views.frames).any(-1).sum((2, 3))
    pixels = views.face_pixels[..., face].astype(int)
    assert (changed[pixels == 0] == 0).all()
    assert (changed[pixels > 60] > 10).all()
    assert (changed <= 1.3 * pixels + 8).all()


def test_other_images(rooms, views):
  images = np.zeros((200, 28, 28), np.uint8)
  images[100:] = dice.digits()
  later = rooms._replace(digits=rooms.digits + 100)
  same = dice.render_batch(later, 32, 2, images)
  np.testing.assert_array_equal(same.frames, views.frames)
  blank = dice.render_batch(rooms, 32, 2, images)
  assert (np.asarray(blank.frames) != views.frames).mean() > 0.01
  with pytest.raises(ValueError, match='they must be 0 to 99: give the images'):
    dice.render_batch(later, 32, 2)


def test_any_views(rooms, views):
  picked = rooms._replace(cameras=rooms.cameras[:, [2, 0, 0]])
  some = dice.render_batch(picked, 32, 2)
  np.testing.assert_array_equal(some.frames, views.frames[:, [2, 0, 0]])
  np.testing.assert_array_equal(
    some.face_pixels, views.face_pixels[:, [2, 0, 0]]
  )


def test_more_rays_a_pixel_change_little():
  room = dice.sample_batch('test', [0], num_views=1)
  aliased, few, many = (
    np.asarray(dice.render_batch(room, 32, s).frames, int) for s in (1, 4, 12)
  )
  assert np.abs(few - many).mean() < 2
  assert np.abs(aliased - many).mean() > 2 * np.abs(few - many).mean()


@pytest.mark.parametrize(
  ('size', 'samples', 'message'),
  [
    (0, 2, 'frame_size is 0; it must be 1 to 256'),
    (257, 2, 'frame_size is 257; it must be 1 to 256'),
    (32, 0, 'supersampling is 0; it must be 1 to 16'),
  ],
)
def test_errors(rooms, size, samples, message):
  for function in dice.render_batch, dice.face_pixels:
    with pytest.raises(ValueError, match=message):
      function(rooms, size, samples)


if __name__ == '__main__':
  for size in GOLDEN:
    Image.fromarray(golden(size)).save(path_of(size), optimize=True)
