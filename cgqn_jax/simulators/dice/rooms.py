"""A room with a die in it, and the views of it (paper, section 4.2).

The floor is z = 0, z is up; lengths are in the same unit throughout. `N`
views.
"""

from collections.abc import Sequence
import colorsys
import math
from typing import Any, NamedTuple

import numpy as np

from cgqn_jax.simulators.dice.digits import NUM_DIGITS, PER_CLASS
from cgqn_jax.simulators.dice.textures import (
  FREQUENCIES,
  KINDS,
  NUM_WAVES,
  texture,
)
from cgqn_jax.simulators.draws import Draws

FACES = ('+x', '-x', '+y', '-y', 'top', 'bottom')  # of the cube, in its frame
NUM_SIDES = 4  # the first of them: the faces a camera goes around
COLORS = ('wall 1', 'wall 2', 'floor 1', 'floor 2', 'ceiling', 'cube')
NUM_VIEWS = 20
FIELD_OF_VIEW = 54  # degrees
HALF_ROOM = 1.5  # the walls are at x, y = +-HALF_ROOM
CEILING = 1.5
EDGE = 0.5  # of the cube

_STREAM = 8
_CUBE = (-0.15, 0.15), (-0.15, 0.15), (0, 2 * math.pi)  # x, y, yaw
_LIGHT = (-1.2, 1.2), (-1.2, 1.2), (0.9, 1.4)  # x, y, z
_RADIUS, _HEIGHT, _LOOK_AT = 1.25, 0.65, 0.25  # of the cameras


class Style(NamedTuple):
  """What rooms may look like.

  digits: that a face may show, each an index of the digits' pictures.
  plain: whether walls and floor have their first color alone.
  """

  digits: Sequence[int] = range(NUM_DIGITS)
  plain: bool = False

  @property
  def classes(self) -> np.ndarray:
    """What each of the shipped digits among `digits` shows, 0 to 9: [D]."""
    return np.array(self.digits) // PER_CLASS


# By the name of a dataset's config, without its frame size. A calm room is the
# default one of the same split and id, its walls and floor painted over, each
# digit replaced by the first of its class.
STYLES = {
  'default': Style(),
  's2': Style(),
  'calm': Style(digits=range(0, NUM_DIGITS, PER_CLASS), plain=True),
}


class Room(NamedTuple):
  """One scene; a batch has a leading axis in every field.

  cameras: [N, 7] f32; x, y, z, sin yaw, cos yaw, sin pitch, cos pitch.
  cube: [3] f32; x and y of its center, yaw.
  light: [3] f32; the center of the lamp.
  colors: [6, 3] f32 of [0, 1], as listed in `COLORS`.
  texture: [2, 2] i32; wall, then floor: index of `KINDS`, of `FREQUENCIES`.
  textures: [2, 64, 64] u8; the maps themselves.
  digits: [6] i32; the digit on each of `FACES`.
  example_id: i64.
  """

  cameras: Any
  cube: Any
  light: Any
  colors: Any
  texture: Any
  textures: Any
  digits: Any
  example_id: Any


def sample(
  split: str,
  example_id: int,
  num_views: int = NUM_VIEWS,
  style: Style = STYLES['default'],
) -> Room:
  """One room; the same on every machine, and needs no other room.

  Args:
    split: 'train', 'validation' or 'test'.
    example_id: 0 or more; it may lie past the stored data set.
    num_views: N; the room itself does not depend on it.
    style: what it may look like; the draws are those of any other style.

  Raises:
    ValueError: if an argument is not one of these.
  """
  if num_views < 1:
    raise ValueError(f'num_views is {num_views}; it must be at least 1.')
  draws = Draws(_STREAM, split, example_id)
  digits = [draws.choice(style.digits) for _ in FACES]
  cube = [draws.uniform(*bounds) for bounds in _CUBE]
  light = [draws.uniform(*bounds) for bounds in _LIGHT]
  pairs = [
    (draws.below(len(KINDS)), draws.below(len(FREQUENCIES))) for _ in range(2)
  ]
  colors = _surface(draws) + _surface(draws)
  colors.append(_color(draws, (0, 0.2), (0.7, 0.95)))
  colors.append(_color(draws, (0.1, 0.7), (0.6, 0.95)))
  waves = [
    [(draws.uniform(), draws.uniform()) for _ in range(NUM_WAVES)]
    for _ in pairs
  ]
  if style.plain:
    pairs = [(KINDS.index('plain'), 0)] * len(pairs)
  return Room(
    cameras=_views(draws, num_views),
    cube=np.array(cube, np.float32),
    light=np.array(light, np.float32),
    colors=np.array(colors, np.float32),
    texture=np.array(pairs, np.int32),
    textures=np.stack(
      [texture(*pair, wave) for pair, wave in zip(pairs, waves, strict=True)]
    ),
    digits=np.array(digits, np.int32),
    example_id=np.int64(example_id),
  )


def sample_batch(
  split: str,
  example_ids: Sequence[int],
  num_views: int = NUM_VIEWS,
  style: Style = STYLES['default'],
) -> Room:
  """Rooms of any ids, [B, ...] in every field; errors as in `sample`."""
  return stack([sample(split, i, num_views, style) for i in example_ids])


def stack(rooms: Sequence[Room]) -> Room:
  """Rooms with equally many views as a batch, [B, ...] in every field."""
  return Room(*map(np.stack, zip(*rooms, strict=True)))


def with_digits(rooms: Room, face: Any, digit: Any) -> Room:
  """The same rooms with another digit on one face of each.

  Args:
    rooms: one or a batch.
    face: index of `FACES`, one for all rooms or [B].
    digit: index of the digits, one for all rooms or [B].
  """
  here = np.arange(len(FACES)) == np.expand_dims(face, -1)
  digits = np.where(here, np.expand_dims(digit, -1), rooms.digits)
  return rooms._replace(digits=digits.astype(np.int32))


def turntable(num: int) -> np.ndarray:
  """`num` cameras once around the room, equally spaced: [num, 7] f32."""
  return _cameras(2 * np.pi * np.arange(num) / num)


def _views(draws: Draws, num_views: int) -> np.ndarray:
  """One view in each of N equal arcs, shuffled: any few are a fair sample."""
  first = draws.uniform()
  arcs = [(i + draws.uniform()) / num_views for i in range(num_views)]
  order = draws.permutation(num_views)
  return _cameras(2 * np.pi * (first + np.array(arcs)[order]))


def _cameras(angle: np.ndarray) -> np.ndarray:
  """The cameras at these angles of the ring: [..., 7] f32."""
  down = math.atan2(_HEIGHT - _LOOK_AT, _RADIUS)
  cos, sin = np.cos(angle), np.sin(angle)
  one = np.ones_like(cos)
  columns = [
    _RADIUS * cos,
    _RADIUS * sin,
    _HEIGHT * one,
    -sin,  # it looks to where it is not
    -cos,
    -math.sin(down) * one,
    math.cos(down) * one,
  ]
  return np.stack(columns, axis=-1).astype(np.float32)


def _surface(draws: Draws) -> list[Sequence[float]]:
  """Both colors of a wall or floor; the second is mostly a darker first."""
  ranges = (0.3, 0.9), (0.5, 0.95)
  first = _color(draws, *ranges)
  independent = draws.uniform() < 0.3
  factor = draws.uniform(0.4, 0.7)
  other = _color(draws, *ranges)
  return [first, other if independent else [factor * c for c in first]]


def _color(
  draws: Draws, saturation: tuple[float, float], value: tuple[float, float]
) -> Sequence[float]:
  """Red, green and blue; any hue."""
  hue = draws.uniform()
  return colorsys.hsv_to_rgb(
    hue, draws.uniform(*saturation), draws.uniform(*value)
  )
