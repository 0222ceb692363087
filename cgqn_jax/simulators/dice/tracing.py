"""Rays from a camera meet the room or the die in it (paper, section 4.2).

Everything is analytic: a box seen from outside in a box seen from inside.
A vector is a tuple of its three components, each an array of rays.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.simulators.dice.rooms import (
  CEILING,
  EDGE,
  FIELD_OF_VIEW,
  HALF_ROOM,
)

Array = jax.Array | np.ndarray

Vector = tuple[Array, Array, Array]

# What a ray meets; the faces of the die are 0 .. 5, as in `rooms.FACES`.
WALL_X, WALL_Y, FLOOR, LID = 6, 7, 8, 9
HALF = EDGE / 2
_TANGENT = math.tan(math.radians(FIELD_OF_VIEW / 2))
_TINY = 1e-9  # keeps a ray along an axis from dividing by zero


class Frame(NamedTuple):
  """The die's own frame: its center on the floor, its axes along its edges."""

  x: Array
  y: Array
  sin: Array
  cos: Array

  def place(self, point: Vector) -> Vector:
    """A point of the room as seen from the die."""
    return self.turn((point[0] - self.x, point[1] - self.y, point[2]))

  def turn(self, vector: Vector) -> Vector:
    """A direction of the room as seen from the die."""
    x, y, z = vector
    return self.cos * x + self.sin * y, self.cos * y - self.sin * x, z


class Ray(NamedTuple):
  """Rays of one camera, and the point of the lamp that lights their ends."""

  origin: Vector
  direction: Vector  # 1 long along the camera's axis
  lamp: Vector


class Hit(NamedTuple):
  """Where rays end.

  place: in the room.
  own: the same, as seen from the die.
  die: whether it is on the die.
  axis: of the face's normal: 0, 1 or 2.
  sign: of the face's normal.
  """

  place: Vector
  own: Vector
  die: Array
  axis: Array
  sign: Array


def rays(camera: Array, right: Array, down: Array) -> tuple[Vector, Vector]:
  """Where rays begin and where they go.

  Args:
    camera: [7].
    right: place in the picture, -1 at its left edge and 1 at its right one.
    down: the same, -1 at its upper edge.

  Returns:
    The camera's place, and the rays' directions.
  """
  x, y, z, sin, cos, sin_pitch, cos_pitch = (camera[i] for i in range(7))
  right, up = _TANGENT * right, -_TANGENT * down
  ahead = cos_pitch - sin_pitch * up
  direction = (
    ahead * cos + right * sin + _TINY,
    ahead * sin - right * cos + _TINY,
    sin_pitch + cos_pitch * up + _TINY,
  )
  return (x, y, z), direction


def trace(origin: Vector, direction: Vector, frame: Frame) -> Array:
  """What rays meet: i32, a face of the die, a wall, the floor or the lid."""
  (ox, oy, oz), (ix, iy, iz) = origin, (1 / d for d in direction)
  wall_x = jnp.maximum((HALF_ROOM - ox) * ix, (-HALF_ROOM - ox) * ix)
  wall_y = jnp.maximum((HALF_ROOM - oy) * iy, (-HALF_ROOM - oy) * iy)
  level = jnp.maximum((CEILING - oz) * iz, -oz * iz)
  room = jnp.where(wall_x < wall_y, WALL_X, WALL_Y)
  flat = jnp.where(iz < 0, FLOOR, LID)
  room = jnp.where(level < jnp.minimum(wall_x, wall_y), flat, room)

  toward = frame.turn(direction)
  (near_x, near_y, near_z), near, far = slabs(frame.place(origin), toward)
  face = jnp.where(near_y > near_x, 2, 0)
  ahead = jnp.where(near_y > near_x, toward[1], toward[0])
  top = near_z > jnp.maximum(near_x, near_y)
  face, ahead = jnp.where(top, 4, face), jnp.where(top, toward[2], ahead)
  face = face + jnp.where(ahead > 0, 1, 0)
  hit = (near < far) & (near > 0)
  return jnp.where(hit, face, room).astype(np.int32)


def slabs(origin: Vector, direction: Vector) -> tuple[Vector, Array, Array]:
  """Where rays enter the die's slabs and the die, and where they leave it."""
  near, far = [], []
  for o, d, middle in zip(origin, direction, (0, 0, HALF), strict=True):
    inverse = 1 / d
    center, reach = (middle - o) * inverse, HALF * jnp.abs(inverse)
    near.append(center - reach)
    far.append(center + reach)
  enter = jnp.maximum(jnp.maximum(near[0], near[1]), near[2])
  leave = jnp.minimum(jnp.minimum(far[0], far[1]), far[2])
  return tuple(near), enter, leave


def land(ray: Ray, thing: Array, frame: Frame) -> Hit:
  """Where rays end, from what they meet: one plane each."""
  die, axis = thing < WALL_X, thing >> 1
  sign = jnp.where((thing & 1) == 0, 1.0, -1.0).astype(np.float32)
  own_x, own_y, own_z = frame.place(ray.origin)
  own = pick(axis, (own_x, own_y, own_z - HALF))
  own_ahead = pick(axis, frame.turn(ray.direction))
  kind = thing - WALL_X
  here, ahead = pick(kind, ray.origin), pick(kind, ray.direction)
  plane = jnp.where(ahead > 0, HALF_ROOM, -HALF_ROOM).astype(np.float32)
  plane = jnp.where(thing == FLOOR, 0.0, plane)
  plane = jnp.where(thing == LID, CEILING, plane)
  gap = jnp.where(die, sign * HALF - own, plane - here)
  distance = gap / jnp.where(die, own_ahead, ahead)
  x, y, z = (
    o + distance * d for o, d in zip(ray.origin, ray.direction, strict=True)
  )
  return Hit((x, y, z), frame.place((x, y, z)), die, axis, sign)


def pick(axis: Array, vector: Vector) -> Array:
  """A component of a vector: x if 0, y if 1, otherwise z."""
  x, y, z = vector
  return jnp.where(axis == 0, x, jnp.where(axis == 1, y, z))
