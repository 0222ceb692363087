"""Rooms become frames: one ray caster for NumPy and JAX (paper, section 4.2).

Direct light of a round lamp, a soft shadow of the die, darkness where it
touches the floor; the digits are engraved. `B` rooms, `N` views, `H W` frame;
a frame is the mean of S x S rays a pixel, each with its own point of the lamp.
"""

from collections.abc import Callable
import functools
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.simulators.dice.casting import (
  Caster,
  frame_of,
  one_by_one,
  scene_of,
)
from cgqn_jax.simulators.dice.digits import digits
from cgqn_jax.simulators.dice.rooms import Room

Array = Any  # of NumPy or of JAX
_LARGEST = 256  # frame; a face of more pixels might not fit into 16 bits


class Views(NamedTuple):
  """What the cameras of a room see; a batch has a leading axis.

  frames: [N, H, W, 3] u8.
  face_pixels: [N, 6] u16; pixels of each of `FACES`, rounded up: 0 means that
    no ray at all meets the face.
  """

  frames: Array
  face_pixels: Array


def render(
  room: Room,
  frame_size: int,
  supersampling: int,
  xp: ModuleType = np,
  images: Array | None = None,
) -> Views:
  """The views of one room, with NumPy (slow: a reference) or `jax.numpy`.

  Args:
    room: as `sample` gives it; any number of cameras, in the room and outside
      the die.
    frame_size: H = W, in pixels.
    supersampling: S; S x S rays a pixel.
    xp: `numpy` or `jax.numpy`.
    images: [K, 28, 28] uint8 that `room.digits` are indices of; by default
      `digits()`.

  Raises:
    ValueError: if the frame size, S or a digit is out of range.
  """
  _check(frame_size, supersampling)
  seen = [xp.asarray(field) for field in _seen(room, images)]
  if xp is np:
    return _render(seen, Caster(frame_size, supersampling, one_by_one, np))
  seen = [field[None] for field in seen]
  views = _render_batch(seen, frame_size, supersampling)
  return jax.tree.map(lambda x: x[0], views)


def render_batch(
  rooms: Room,
  frame_size: int,
  supersampling: int,
  images: Array | None = None,
) -> Views:
  """The views of a batch of rooms, in one compiled call.

  To render some views only, gather `cameras` first: N is whatever is given.
  Arguments and errors are those of `render`.
  """
  _check(frame_size, supersampling)
  return _render_batch(_seen(rooms, images), frame_size, supersampling)


def face_pixels(rooms: Room, frame_size: int, supersampling: int) -> jax.Array:
  """`Views.face_pixels` of a room or of a batch, without the frames."""
  _check(frame_size, supersampling)
  cameras, cube = rooms.cameras, rooms.cube
  if np.ndim(cube) == 2:
    return _count_batch((cameras, cube), frame_size, supersampling)
  return _count_batch((cameras[None], cube[None]), frame_size, supersampling)[0]


def _seen(room: Room, images: Array | None) -> list[Array]:
  """What is seen: the cameras, then what they look at."""
  images = digits() if images is None else images
  if isinstance(room.digits, jax.Array):
    images = jnp.asarray(images)
  elif np.min(room.digits) < 0 or np.max(room.digits) >= len(images):
    raise ValueError(
      f'digits are {np.min(room.digits)} to {np.max(room.digits)}; they must '
      f'be 0 to {len(images) - 1}: give the images the room was sampled for.'
    )
  fields = room.cameras, room.cube, room.light, room.colors, room.textures
  return [*fields, images[room.digits]]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _render_batch(
  seen: list[Array], frame_size: int, supersampling: int
) -> Views:
  def all_rooms(caster: Caster, seen: list[Array]) -> Views:
    return jax.lax.map(functools.partial(_render, caster=caster), seen)

  return _by_platform(all_rooms, seen, frame_size, supersampling)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _count_batch(
  seen: tuple[Array, Array], frame_size: int, supersampling: int
) -> jax.Array:
  def all_rooms(caster: Caster, seen: tuple[Array, Array]) -> jax.Array:
    def one(seen: tuple[Array, Array]) -> jax.Array:
      cameras, frame = seen[0], frame_of(seen[1], jnp)
      return caster.over(lambda c: caster.count(caster.meet(c, frame)), cameras)

    return _pixels(jax.lax.map(one, seen), supersampling)

  return _by_platform(all_rooms, seen, frame_size, supersampling)


def _by_platform(
  function: Callable, seen: Any, frame_size: int, supersampling: int
) -> Any:
  def with_caster(over: Callable) -> Callable:
    caster = Caster(frame_size, supersampling, over, jnp)
    return functools.partial(function, caster)

  return jax.lax.platform_dependent(
    seen,
    # On a CPU the working set of one view stays in the cache.
    cpu=with_caster(jax.lax.map),
    default=with_caster(lambda f, xs: jax.vmap(f)(xs)),
  )


def _render(seen: list[Array], caster: Caster) -> Views:
  """The views of one room, from what `_seen` gives."""
  cameras, *rest = seen
  scene = scene_of(*rest, caster.xp)

  def view(camera: Array) -> tuple[Array, Array]:
    thing = caster.meet(camera, scene.frame)
    return caster.paint(camera, thing, scene), caster.count(thing)

  pictures, counts = caster.over(view, cameras)
  size = caster.frame_size
  frames = caster.xp.moveaxis(pictures, -2, -1)
  frames = frames.reshape((len(cameras), size, size, 3))
  return Views(frames, _pixels(counts, caster.supersampling))


def _pixels(rays: Array, supersampling: int) -> Array:
  samples = supersampling**2
  return ((rays + samples - 1) // samples).astype(np.uint16)


def _check(frame_size: int, supersampling: int) -> None:
  if not 1 <= frame_size <= _LARGEST:
    raise ValueError(f'frame_size is {frame_size}; it must be 1 to {_LARGEST}.')
  if not 1 <= supersampling <= 16:
    raise ValueError(f'supersampling is {supersampling}; it must be 1 to 16.')
