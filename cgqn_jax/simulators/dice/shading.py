"""The light on what rays meet, and the relief of the engraved digits.

Paper, section 4.2. The light is found in stages of one result each: XLA
compiles a stage whose only work is to look up much better than one that also
computes where, so a stage gives indices, the next one looks them up. What is
cheap to compute again is not handed on: only the thing that a ray meets, and
what was looked up.
"""

import jax.numpy as jnp
import numpy as np

from cgqn_jax.simulators.dice import tracing
from cgqn_jax.simulators.dice.rooms import EDGE
from cgqn_jax.simulators.dice.textures import SIDE
from cgqn_jax.simulators.dice.tracing import (
  HALF,
  Array,
  Frame,
  Hit,
  Ray,
  Vector,
  pick,
)

LAMP = 0.08  # its radius
_AMBIENT, _DIFFUSE = 0.45, 0.65
_INK = 0.8  # how much darker a digit is where it is deepest
_DEPTH = 0.016 / EDGE  # of a digit, in edges
_TILE = 1.2  # side of a texture on wall and floor
_CONTACT, _REACH = 0.35, 60.0  # darkness where the die meets the floor
_MAP = SIDE * SIDE
_IMAGE = 28  # side of a digit, in pixels
_STEEPEST = 40.0  # slope that is kept
_LEVELS, _SLOPES = 1023, 1023  # 10 bits a height, 11 bits a slope


def _cubics() -> tuple[np.ndarray, np.ndarray]:
  """Bicubic weights [SIDE, 28] and their derivatives, for places in [0, 1]."""
  place = (np.arange(SIDE) + 0.5) / SIDE * _IMAGE - 0.5
  x = place[:, None] - np.arange(_IMAGE)
  near, far = np.abs(x), np.clip(np.abs(x), 1, 2)
  value = np.where(
    near < 1,
    (1.5 * near - 2.5) * near**2 + 1,
    ((2.5 - 0.5 * far) * far - 4) * far + 2,
  )
  slope = np.where(near < 1, (4.5 * near - 5) * near, (5 - 1.5 * far) * far - 4)
  slope = np.sign(x) * slope * _IMAGE
  return value.astype(np.float32), slope.astype(np.float32)


_VALUE, _SLOPE = _cubics()


def relief(images: Array) -> tuple[Array, Array]:
  """Depth and slopes of six engraved faces.

  Args:
    images: [6, 28, 28] uint8.

  Returns:
    [6, 64, 64] f32 of [0, 1], 1 the deepest; and [6, 64, 64] u32, the same with
    its slopes to the right and down in one word, as `unpack` reads it. A face
    has a side of 1.
  """
  ink = images.astype(np.float32) / 255
  value, slope = jnp.asarray(_VALUE), jnp.asarray(_SLOPE)
  # Cubics overshoot beside a stroke.
  depth = jnp.clip(value @ ink @ value.T, 0.0, 1.0)
  right, down = value @ ink @ slope.T, slope @ ink @ value.T
  word = _quantize(depth, _LEVELS) << 22
  word = word | (_quantize(1 + right / _STEEPEST, _SLOPES) << 11)
  return depth, word | _quantize(1 + down / _STEEPEST, _SLOPES)


def unpack(word: Array) -> tuple[Array, Array, Array]:
  """Depth, slope to the right and slope down, from words of `relief`."""
  step = np.float32(_STEEPEST / _SLOPES)
  depth = (word >> 22).astype(np.float32) * np.float32(1 / _LEVELS)
  right = ((word >> 11) & 2047).astype(np.float32) * step - _STEEPEST
  down = (word & 2047).astype(np.float32) * step - _STEEPEST
  return depth, right, down


def _quantize(x: Array, levels: int) -> Array:
  return jnp.floor(levels * jnp.clip(x, 0, 2) + np.float32(0.5)).astype(
    np.uint32
  )


def surface(ray: Ray, thing: Array, frame: Frame) -> Array:
  """Index in the grey maps (wall, floor, six faces) of what a ray meets."""
  hit = tracing.land(ray, thing, frame)
  across = jnp.where(thing == tracing.WALL_X, hit.place[1], hit.place[0])
  along = jnp.where(thing == tracing.FLOOR, hit.place[1], hit.place[2])
  # Two tiles on, so that rounding to zero rounds down.
  column, row = (
    ((x + 2 * _TILE) * (SIDE / _TILE)).astype(np.int32) & (SIDE - 1)
    for x in (across, along)
  )
  texel = row * SIDE + column
  texel = jnp.where(thing == tracing.FLOOR, texel + _MAP, texel)
  u, v = _on_face(hit)
  return jnp.where(hit.die, (thing + 2) * _MAP + _texel(u, v), texel)


def groove(ray: Ray, thing: Array, gray: Array, frame: Frame) -> Array:
  """Index in the six faces of what is seen: one step down along the ray."""
  hit = tracing.land(ray, thing, frame)
  u, v = _on_face(hit)
  right, down, out = _to_face(hit, frame.turn(ray.direction))
  step = _DEPTH * gray / jnp.maximum(-out, 0.1)
  index = thing * _MAP + _texel(u + step * right, v + step * down)
  return jnp.where(hit.die, index, 0)


def rim(
  ray: Ray,
  index: Array,
  thing: Array,
  word: Array,
  frame: Frame,
) -> Array:
  """Index in the grey maps of what may shade `index`: halfway to the rim."""
  hit = tracing.land(ray, thing, frame)
  right, down, out = _to_face(hit, _to_lamp(ray, hit, frame))
  depth, _, _ = unpack(word)
  step = 0.5 * _DEPTH * SIDE * depth / jnp.maximum(out, 0.1)
  column = (index & (SIDE - 1)).astype(np.float32) + 0.5
  row = ((index >> 6) & (SIDE - 1)).astype(np.float32) + 0.5
  column, row = _clip(column + step * right), _clip(row + step * down)
  return jnp.where(hit.die, (thing + 2) * _MAP + row * SIDE + column, 0)


def brightness(
  ray: Ray, thing: Array, word: Array, edge: Array, frame: Frame
) -> Array:
  """How bright a white surface would be; `edge` is the depth at the rim."""
  hit = tracing.land(ray, thing, frame)
  to_lamp = _to_lamp(ray, hit, frame)
  right, down, out = _to_face(hit, to_lamp)
  depth, slope_right, slope_down = unpack(word)
  slope_right, slope_down = _DEPTH * slope_right, _DEPTH * slope_down
  on_die = out + slope_right * right + slope_down * down
  steep = 1 + slope_right * slope_right + slope_down * slope_down
  lit = jnp.clip(1 - 2.5 * (0.5 * depth - edge), 0.0, 1.0)
  on_die = jnp.where(out > 0, on_die * lit / jnp.sqrt(steep), 0.0)

  room = tuple(b - a for a, b in zip(hit.place, ray.lamp, strict=True))
  in_room = jnp.abs(pick(thing - tracing.WALL_X, room))
  _, enter, leave = tracing.slabs(hit.own, to_lamp)
  shadow = (enter < leave) & (leave > 0) & (enter < 1)
  in_room = jnp.where(shadow, 0.0, in_room)
  facing = jnp.maximum(jnp.where(hit.die, on_die, in_room), 0.0)
  far = jnp.sqrt(sum(x * x for x in to_lamp))

  x, y, z = hit.own
  beside_x, beside_y = (jnp.maximum(jnp.abs(p) - HALF, 0.0) for p in (x, y))
  above = jnp.where(hit.die, z, jnp.maximum(z - EDGE, 0.0))
  beside = beside_x * beside_x + beside_y * beside_y
  gap = jnp.where(hit.die, 0.0, beside) + above * above
  dark = _CONTACT * jnp.exp(-_REACH * gap)
  return _AMBIENT * (1 - dark) + _DIFFUSE * facing / far


def color(
  thing: Array,
  gray: Array,
  word: Array,
  bright: Array,
  colors: tuple[Array, ...],
) -> Array:
  """One of red, green and blue; `colors` holds it for `rooms.COLORS`."""
  wall, other_wall, floor, other_floor, lid, cube = colors
  die, wide = thing < tracing.WALL_X, thing < tracing.FLOOR
  first = jnp.where(thing == tracing.FLOOR, floor, lid)
  other = jnp.where(thing == tracing.FLOOR, other_floor, lid)
  first = jnp.where(die, cube, jnp.where(wide, wall, first))
  other = jnp.where(wide, other_wall, other)
  other = jnp.where(die, (1 - _INK) * cube, other)
  part = jnp.where(die, unpack(word)[0], gray)
  return bright * (first + part * (other - first))


def _on_face(hit: Hit) -> tuple[Array, Array]:
  """Where hits are on their face, seen from outside: right and down, in 0-1."""
  x, y, z = hit.own
  right, down, _ = _to_face(hit, (x, y, z - HALF))
  return right / EDGE + 0.5, down / EDGE + 0.5


def _to_face(hit: Hit, vector: Vector) -> tuple[Array, Array, Array]:
  """A vector seen from outside a face: to the right, down, and out of it."""
  x, y, z = vector
  right = hit.sign * pick(hit.axis, (y, -x, x))
  down = jnp.where(hit.axis == 2, -y, -z)
  return right, down, hit.sign * pick(hit.axis, vector)


def _to_lamp(ray: Ray, hit: Hit, frame: Frame) -> Vector:
  lamp = frame.place(ray.lamp)
  return tuple(b - a for a, b in zip(hit.own, lamp, strict=True))


def _texel(u: Array, v: Array) -> Array:
  """Index in a face's map of a place in [0, 1] x [0, 1], or near it."""
  return _clip(SIDE * v) * SIDE + _clip(SIDE * u)


def _clip(place: Array) -> Array:
  return jnp.clip(place, 0, SIDE - 1).astype(np.int32)
