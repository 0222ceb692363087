"""Rays and light against brute force, and faces the right way around."""

import jax
import numpy as np
import pytest

from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice import shading, tracing
from cgqn_jax.simulators.dice.rendering import frame_of

STEP = 2e-4  # of marching along a ray


def into(point: np.ndarray, cube: np.ndarray) -> np.ndarray:
  """Points [..., 3] in the die's frame, its center at the origin."""
  x, y, yaw = cube.astype(np.float64)
  u, v = point[..., 0] - x, point[..., 1] - y
  sin, cos = np.sin(yaw), np.cos(yaw)
  return np.stack(
    [cos * u + sin * v, cos * v - sin * u, point[..., 2] - 0.25], axis=-1
  )


def some_rays(room: dice.Room, count: int, seed: int):
  """Rays of all cameras through random places of the picture, [count, 3]."""
  rng = np.random.default_rng(seed)
  camera = room.cameras[rng.integers(len(room.cameras), size=count)].T
  x, y = rng.uniform(-1, 1, (2, count)).astype(np.float32)
  origin, direction = tracing.rays(camera, x, y)
  return origin, direction, (x, y)


def march(origin, direction, cube):
  """What one ray meets, and how far away, by small steps; float64."""
  length = np.linalg.norm(direction)
  distance = np.arange(STEP, 5, STEP) / length
  point = origin + distance[:, None] * direction
  own = np.abs(into(point, cube)).max(-1)
  x, y, z = point.T
  outside = (np.abs(x) > 1.5) | (np.abs(y) > 1.5) | (z < 0) | (z > 1.5)
  end = (outside | (own < 0.25)).argmax()
  assert outside.any()
  if own[end] < 0.25:
    own = into(point[end], cube)
    axis = np.abs(own).argmax()
    return 2 * axis + (own[axis] < 0), distance[end], np.sort(np.abs(own))
  gaps = [np.abs(x[end]), np.abs(y[end]), 1.5 - z[end], z[end]]
  thing = [tracing.WALL_X, tracing.WALL_Y, tracing.FLOOR, tracing.LID]
  return thing[np.argmax(gaps)], distance[end], np.sort(gaps)


@pytest.mark.parametrize('example_id', [0, 1, 2])
def test_rays_against_marching(example_id):
  room = dice.sample('test', example_id)
  frame = frame_of(room.cube)
  origin, direction, _ = some_rays(room, 250, example_id)
  thing = tracing.trace(origin, direction, frame)
  ray = tracing.Ray(origin, direction, (0, 0, 1))
  place = np.stack(tracing.land(ray, thing, frame).place, -1)
  starts, ways = (np.stack(v, -1).astype(np.float64) for v in ray[:2])
  met, edges = set(), 0
  for i, (start, way) in enumerate(zip(starts, ways, strict=True)):
    expected, distance, order = march(start, way, room.cube)
    if order[-1] - order[-2] < 2e-3:  # too near an edge for small steps
      edges += 1
      continue
    assert thing[i] == expected
    far = np.linalg.norm(place[i] - (start + distance * way))
    assert far < 2 * STEP
    met.add(int(expected))
  assert edges < 25
  assert {tracing.WALL_X, tracing.WALL_Y, tracing.FLOOR} < met
  assert len(met) >= 6


def test_rays_go_through_their_place_in_the_picture():
  room = dice.sample('test', 3)
  origin, direction, (x, y) = some_rays(room, 400, 0)
  poses = room.cameras[np.random.default_rng(0).integers(20, size=400)]
  sin, cos, sin_pitch, cos_pitch = poses[:, 3:].astype(np.float64).T
  ahead = np.stack([cos * cos_pitch, sin * cos_pitch, sin_pitch], -1)
  right = np.cross(ahead, (0, 0, 1))
  right /= np.linalg.norm(right, axis=-1, keepdims=True)
  up, way = np.cross(right, ahead), np.stack(direction, -1)
  tangent = np.tan(np.deg2rad(dice.FIELD_OF_VIEW / 2))
  np.testing.assert_allclose((way * ahead).sum(-1), 1, atol=1e-6)
  np.testing.assert_allclose((way * right).sum(-1), tangent * x, atol=1e-6)
  np.testing.assert_allclose((way * up).sum(-1), -tangent * y, atol=1e-6)
  np.testing.assert_array_equal(np.stack(origin, -1), poses[:, :3])


def test_faces_are_seen_from_their_front_only():
  rooms = dice.sample_batch('test', range(40))
  pixels = np.asarray(dice.face_pixels(rooms, 64, 2))
  assert pixels.dtype == np.uint16 and pixels.shape == (40, 20, 6)
  normals = np.zeros((6, 3))
  normals[range(6), [0, 0, 1, 1, 2, 2]] = [1, -1, 1, -1, 1, -1]
  for i in range(40):
    place = into(rooms.cameras[i, :, :3].astype(np.float64), rooms.cube[i])
    front = ((place[:, None] - 0.25 * normals) * normals).sum(-1)
    assert (pixels[i][front <= -1e-6] == 0).all()
    assert (pixels[i][front > 0.02] > 0).all()
    # The more to the front, the more of it is seen.
    assert (pixels[i][front > 0.5] > 150)[:4].all()
  assert (pixels[..., 5] == 0).all() and (pixels[..., 4] > 0).all()
  assert 1.6 < (pixels[..., :4] > 0).sum(-1).mean() < 1.8


def test_shadows_against_marching():
  room = dice.sample('test', 4)
  frame = frame_of(room.cube)
  rng = np.random.default_rng(0)
  count = 500
  floor = np.zeros((3, count), np.float32)
  floor[:2] = rng.uniform(-0.9, 0.9, (2, count))
  origin = tuple(np.full(count, x, np.float32) for x in (0.1, 0.2, 1.3))
  way = tuple(b - a for a, b in zip(origin, floor, strict=True))
  ray = tracing.Ray(origin, way, tuple(room.light))
  thing = np.full(count, tracing.FLOOR, np.int32)
  word, edge = np.zeros(count, np.uint32), np.zeros(count, np.float32)
  bright = shading.brightness(ray, thing, word, edge, frame)
  to_lamp = room.light.astype(np.float64)[:, None] - floor
  part = np.linspace(0, 1, 4000)[1:, None, None]
  within = np.abs(into((floor + part * to_lamp).swapaxes(1, 2), room.cube))
  depth = 0.25 - within.max(-1).min(0)
  clear = np.abs(depth) > 1e-3  # not at the shadow's very edge
  shadow = depth > 0
  assert 30 < shadow.sum() < 300 and clear.mean() > 0.97
  beside = np.maximum(np.abs(into(floor.T, room.cube))[:, :2] - 0.25, 0)
  dark = 0.35 * np.exp(-60 * np.square(beside).sum(-1))
  light = 0.65 * to_lamp[2] / np.linalg.norm(to_lamp, axis=0)
  expected = 0.45 * (1 - dark) + np.where(shadow, 0, light)
  np.testing.assert_allclose(bright[clear], expected[clear], atol=1e-5)


def facing(room: dice.Room, face: int, away: float) -> np.ndarray:
  """A camera that looks straight at a face, its upper edge above: [1, 7]."""
  x, y, yaw = room.cube.astype(np.float64)
  if face == 4:  # the die's +y is up
    up = yaw + np.pi / 2
    pose = [x, y, 0.5 + away, np.sin(up), np.cos(up), -1, 0]
  else:
    out = yaw + np.pi / 2 * [0, 2, 1, 3][face]
    x, y = x + (0.25 + away) * np.cos(out), y + (0.25 + away) * np.sin(out)
    pose = [x, y, 0.25, -np.sin(out), -np.cos(out), 0, 1]
  return np.array([pose], np.float32)


def looks(room: dice.Room, face: int) -> tuple[np.ndarray, np.ndarray]:
  """A face as its camera sees it and its digit, at equal sizes: [56, 56]."""
  away = 0.25 / np.tan(np.deg2rad(54 / 2)) * 64 / 56
  room = dice.stack([room._replace(cameras=facing(room, face, away))])
  views = jax.tree.map(np.asarray, dice.render_batch(room, 64, 2))
  assert views.face_pixels[0, 0, face] == pytest.approx(56 * 56, rel=0.02)
  seen = views.frames[0, 0, 4:60, 4:60].astype(np.float64).mean(-1)
  digit = dice.digits()[room.digits[0, face]].repeat(2, 0).repeat(2, 1)
  return seen, digit.astype(np.float64)


@pytest.mark.parametrize('face', range(5))
def test_digits_read_the_right_way_around(face):
  room = dice.sample('test', 8)
  for digit in (21, 40, 53, 73, 93):
    seen, expected = looks(dice.with_digits(room, face, digit), face)

    def alike(other, seen=seen):
      return np.corrcoef(-seen.ravel(), other.ravel())[0, 1]

    upright = alike(expected)
    assert upright > 0.7
    wrong = [
      expected[:, ::-1],
      expected[::-1],
      expected.T,
      expected[::-1, ::-1],
    ]
    assert max(map(alike, wrong)) < upright - 0.3


def test_digits_are_dark():
  room = dice.with_digits(dice.sample('test', 8), 1, 3)
  seen, digit = looks(room, 1)
  ratio = seen[digit > 250].mean() / seen[digit == 0].mean()
  assert 0.2 < ratio < 0.35
