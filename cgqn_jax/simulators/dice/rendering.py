"""Rooms become frames: a ray caster (paper, section 4.2).

Direct light of a round lamp, a soft shadow of the die, darkness where it
touches the floor; the digits are engraved. `B` rooms, `N` views, `H W` frame;
a frame is the mean of S x S rays per pixel, each with its own point of the
lamp.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.simulators.dice import shading, tracing
from cgqn_jax.simulators.dice.digits import digits
from cgqn_jax.simulators.dice.rooms import COLORS, FACES, Room
from cgqn_jax.simulators.dice.tracing import Array

_LARGEST = 256  # frame; a face of more pixels might not fit into 16 bits


class Scene(NamedTuple):
  """What cameras look at, as rays need it.

  frame: of the die.
  light: [3].
  colors: [6, 3].
  maps: wall, floor and the depths of the six faces; flat, since XLA gathers
    much faster in one dimension.
  faces: depths and slopes of the six faces, as `shading.unpack` reads them;
    flat.
  """

  frame: tracing.Frame
  light: Array
  colors: Array
  maps: Array
  faces: Array


def frame_of(cube: Array) -> tracing.Frame:
  """The frame of a die at [3] x, y, yaw."""
  return tracing.Frame(cube[0], cube[1], jnp.sin(cube[2]), jnp.cos(cube[2]))


@dataclasses.dataclass(frozen=True)
class Caster:
  """Casts S x S rays per pixel, one of each pixel at a time.

  frame_size: H = W.
  supersampling: S.
  over: `jax.lax.map`, or what does the same.
  """

  frame_size: int
  supersampling: int
  over: Callable

  def meet(self, camera: Array, frame: tracing.Frame) -> Array:
    """What rays meet: [S * S, H * W] i32, as `tracing.trace` names it."""

    def work(point: Array) -> Array:
      origin, direction = self._rays(camera, point)
      return tracing.trace(origin, direction, frame)

    return self.over(work, self._points())

  def count(self, thing: Array) -> Array:
    """How many rays meet each of `rooms.FACES`: [6] i32."""
    faces = range(len(FACES))
    counts = [jnp.sum(thing == face, dtype=np.int32) for face in faces]
    return jnp.stack(counts)

  def paint(self, camera: Array, thing: Array, scene: Scene) -> Array:
    """The picture of what rays meet: [3, H * W] u8."""
    points, light = self._points(), scene.light

    def stage(function: Callable, *xs: Array) -> Array:
      def work(xs: tuple[Array, ...]) -> Array:
        point, *rest = xs
        lamp = light[0] + point[2], light[1] + point[3], light[2]
        ray = tracing.Ray(*self._rays(camera, point), lamp)
        return function(ray, *rest, scene.frame)

      return self.over(work, (points, *xs))

    gray = self._look_up(scene.maps, stage(shading.surface, thing))
    index = stage(shading.groove, thing, gray)
    word = self._look_up(scene.faces, index)
    rim = stage(shading.rim, index, thing, word)
    bright = stage(
      shading.brightness, thing, word, self._look_up(scene.maps, rim)
    )

    def add(sums: tuple[Array, ...], xs: tuple[Array, ...]) -> tuple:
      channels = [
        tuple(scene.colors[i, c] for i in range(len(COLORS))) for c in range(3)
      ]
      return tuple(
        total + shading.color(*xs, channel)
        for total, channel in zip(sums, channels, strict=True)
      ), None

    zeros = (jnp.zeros(thing.shape[1:], np.float32),) * 3
    sums, _ = jax.lax.scan(add, zeros, (thing, gray, word, bright))
    image = jnp.clip(jnp.stack(sums) / len(points), 0.0, 1.0)
    return jnp.floor(255 * image + np.float32(0.5)).astype(np.uint8)

  def _points(self) -> Array:
    """The place of each ray of a pixel: [S * S, 4].

    To the right and down, from the pixel's corner in a picture of [-1, 1] x
    [-1, 1]; and x and y on the lamp.
    """
    side, rays = self.supersampling, self.supersampling**2
    offset = (np.arange(side) + 0.5) / side * 2 / self.frame_size
    right, down = np.tile(offset, side), np.repeat(offset, side)
    # A sunflower; the stride, coprime to it, parts neighbours in the pixel.
    seed = np.arange(rays) * (side + 1) % rays
    radius = shading.LAMP * np.sqrt((seed + 0.5) / rays)
    angle = math.pi * (3 - math.sqrt(5)) * seed
    columns = right, down, radius * np.cos(angle), radius * np.sin(angle)
    return jnp.asarray(np.stack(columns, axis=-1).astype(np.float32))

  def _rays(
    self, camera: Array, point: Array
  ) -> tuple[tracing.Vector, tracing.Vector]:
    size = self.frame_size
    corner = (2 * np.arange(size) / size - 1).astype(np.float32)
    right = jnp.asarray(np.tile(corner, size)) + point[0]
    down = jnp.asarray(np.repeat(corner, size)) + point[1]
    return tracing.rays(camera, right, down)

  def _look_up(self, table: Array, index: Array) -> Array:
    promise = {
      'mode': 'promise_in_bounds',
      'wrap_negative_indices': False,
    }
    return self.over(lambda index: table.at[index].get(**promise), index)


class Views(NamedTuple):
  """What the cameras of a room see; a batch has a leading axis.

  frames: [N, H, W, 3] u8.
  face_pixels: [N, 6] u16; pixels of each of `FACES`, rounded up: 0 means that
    no ray at all meets the face.
  """

  frames: Array
  face_pixels: Array


def render_batch(
  rooms: Room,
  frame_size: int,
  supersampling: int,
  images: Array | None = None,
) -> Views:
  """Renders the views of a batch of rooms, in one compiled call.

  To render some views only, gather `cameras` first: N is whatever is given.

  Args:
    rooms: as `sample_batch` or `stack` gives them; any cameras, in the room and
      outside the die.
    frame_size: H = W, in pixels.
    supersampling: S; S x S rays per pixel.
    images: [K, 28, 28] uint8 that `rooms.digits` are indices of; by default
      `digits()`.

  Raises:
    ValueError: if the frame size, S or a digit is out of range.
  """
  _check(frame_size, supersampling)
  return _for_rooms(_render, _seen(rooms, images), frame_size, supersampling)


def face_pixels(rooms: Room, frame_size: int, supersampling: int) -> jax.Array:
  """`Views.face_pixels` of a room or of a batch, without the frames."""
  _check(frame_size, supersampling)
  alone = np.ndim(rooms.cube) == 1
  seen = [x[None] if alone else x for x in (rooms.cameras, rooms.cube)]
  pixels = _for_rooms(_count, seen, frame_size, supersampling)
  return pixels[0] if alone else pixels


def _seen(rooms: Room, images: Array | None) -> list[Array]:
  """What is seen: the cameras, then what they look at."""
  images = digits() if images is None else images
  least, most = np.min(rooms.digits), np.max(rooms.digits)
  if least < 0 or most >= len(images):
    raise ValueError(
      f'digits are {least} to {most}; they must be 0 to {len(images) - 1}: '
      'give the images the room was sampled for.'
    )
  fields = rooms.cameras, rooms.cube, rooms.light, rooms.colors, rooms.textures
  return [*fields, images[rooms.digits]]


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _for_rooms(
  function: Callable, seen: Any, frame_size: int, supersampling: int
) -> Any:
  """function(caster, room) of every room in a batch of what is seen."""

  def with_caster(over: Callable) -> Callable:
    caster = Caster(frame_size, supersampling, over)
    return lambda seen: jax.lax.map(functools.partial(function, caster), seen)

  return jax.lax.platform_dependent(
    seen,
    # On a CPU the working set of one view stays in the cache.
    cpu=with_caster(jax.lax.map),
    default=with_caster(lambda f, xs: jax.vmap(f)(xs)),
  )


def _render(caster: Caster, seen: list[Array]) -> Views:
  """The views of one room, from what `_seen` gives."""
  cameras, cube, light, colors, textures, images = seen
  depth, words = shading.relief(images)
  gray = textures.reshape(-1).astype(np.float32) / 255
  maps = jnp.concatenate([gray, depth.reshape(-1)])
  scene = Scene(frame_of(cube), light, colors, maps, words.reshape(-1))

  def view(camera: Array) -> tuple[Array, Array]:
    thing = caster.meet(camera, scene.frame)
    return caster.paint(camera, thing, scene), caster.count(thing)

  pictures, counts = caster.over(view, cameras)
  size = caster.frame_size
  frames = jnp.moveaxis(pictures, -2, -1)
  frames = frames.reshape((len(cameras), size, size, 3))
  return Views(frames, _pixels(counts, caster.supersampling))


def _count(caster: Caster, seen: list[Array]) -> Array:
  """`Views.face_pixels` of one room, from its cameras and its cube."""
  cameras, frame = seen[0], frame_of(seen[1])
  counts = caster.over(lambda c: caster.count(caster.meet(c, frame)), cameras)
  return _pixels(counts, caster.supersampling)


def _pixels(rays: Array, supersampling: int) -> Array:
  samples = supersampling**2
  return ((rays + samples - 1) // samples).astype(np.uint16)


def _check(frame_size: int, supersampling: int) -> None:
  if not 1 <= frame_size <= _LARGEST:
    raise ValueError(f'frame_size is {frame_size}; it must be 1 to {_LARGEST}.')
  if not 1 <= supersampling <= 16:
    raise ValueError(f'supersampling is {supersampling}; it must be 1 to 16.')
