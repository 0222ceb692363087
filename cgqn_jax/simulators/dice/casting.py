"""The rays of one view, in stages over the rays of a pixel (section 4.2)."""

from collections.abc import Callable
import dataclasses
import functools
import math
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from cgqn_jax.simulators.dice import shading, tracing
from cgqn_jax.simulators.dice.relief import relief
from cgqn_jax.simulators.dice.rooms import COLORS, FACES

Array = Any  # of NumPy or of JAX
Over = Callable  # as `jax.lax.map`


class Scene(NamedTuple):
  """What cameras look at, as rays need it.

  frame: of the die.
  light: [3].
  colors: [6, 3].
  maps: wall, floor and the depths of the six faces; flat, since XLA gathers
    much faster in one dimension.
  faces: depths and slopes of the six faces, as `relief.unpack` reads them;
    flat.
  """

  frame: tracing.Frame
  light: Array
  colors: Array
  maps: Array
  faces: Array


def frame_of(cube: Array, xp: ModuleType) -> tracing.Frame:
  """The frame of a die at [3] x, y, yaw."""
  return tracing.Frame(cube[0], cube[1], xp.sin(cube[2]), xp.cos(cube[2]))


def scene_of(
  cube: Array,
  light: Array,
  colors: Array,
  textures: Array,
  images: Array,
  xp: ModuleType,
) -> Scene:
  """A scene from fields of a `Room` and the images of its six digits."""
  depth, words = relief(images, xp)
  gray = textures.reshape(-1).astype(np.float32) / 255
  maps = xp.concatenate([gray, depth.reshape(-1)])
  return Scene(frame_of(cube, xp), light, colors, maps, words.reshape(-1))


@dataclasses.dataclass(frozen=True)
class Caster:
  """Casts S x S rays a pixel, one of each pixel at a time.

  frame_size: H = W.
  supersampling: S.
  over: `jax.lax.map`, or what does the same.
  xp: `numpy` or `jax.numpy`.
  """

  frame_size: int
  supersampling: int
  over: Over
  xp: ModuleType

  def meet(self, camera: Array, frame: tracing.Frame) -> Array:
    """What rays meet: [S * S, H * W] i32, as `tracing.trace` names it."""

    def work(point: Array) -> Array:
      origin, direction = self._rays(camera, point)
      return tracing.trace(origin, direction, frame, self.xp)

    return self.over(work, self._points())

  def count(self, thing: Array) -> Array:
    """How many rays meet each of `rooms.FACES`: [6] i32."""
    faces = range(len(FACES))
    counts = [self.xp.sum(thing == face, dtype=np.int32) for face in faces]
    return self.xp.stack(counts)

  def paint(self, camera: Array, thing: Array, scene: Scene) -> Array:
    """The picture of what rays meet: [3, H * W] u8."""
    points, light, xp = self._points(), scene.light, self.xp

    def stage(function: Callable, *xs: Array) -> Array:
      def work(xs: tuple[Array, ...]) -> Array:
        point, *rest = xs
        lamp = light[0] + point[2], light[1] + point[3], light[2]
        ray = tracing.Ray(*self._rays(camera, point), lamp)
        return function(ray, *rest, scene.frame, xp)

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
        total + shading.color(*xs, channel, xp)
        for total, channel in zip(sums, channels, strict=True)
      ), None

    zeros = (xp.zeros(thing.shape[1:], np.float32),) * 3
    sums = self._scan(add, zeros, (thing, gray, word, bright))
    image = xp.clip(xp.stack(sums) / len(points), 0.0, 1.0)
    return xp.floor(255 * image + np.float32(0.5)).astype(np.uint8)

  def _points(self) -> Array:
    """Of each ray of a pixel its place: [S * S, 4].

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
    return self.xp.asarray(np.stack(columns, axis=-1).astype(np.float32))

  def _rays(
    self, camera: Array, point: Array
  ) -> tuple[tracing.Vector, tracing.Vector]:
    size = self.frame_size
    corner = (2 * np.arange(size) / size - 1).astype(np.float32)
    right = self.xp.asarray(np.tile(corner, size)) + point[0]
    down = self.xp.asarray(np.repeat(corner, size)) + point[1]
    return tracing.rays(camera, right, down)

  def _look_up(self, table: Array, index: Array) -> Array:
    if self.xp is np:
      return table[index]
    promise = {
      'mode': 'promise_in_bounds',
      'wrap_negative_indices': False,
    }
    return self.over(lambda index: table.at[index].get(**promise), index)

  def _scan(self, step: Callable, carry: Any, xs: tuple[Array, ...]) -> Any:
    if self.xp is not np:
      return jax.lax.scan(step, carry, xs)[0]
    return functools.reduce(
      lambda carry, x: step(carry, x)[0], zip(*xs, strict=True), carry
    )


def one_by_one(function: Callable, xs: Any) -> Any:
  """`jax.lax.map` for NumPy; what is mapped is an array or a tuple."""
  inputs = zip(*xs, strict=True) if isinstance(xs, tuple) else xs
  results = [function(x) for x in inputs]
  if isinstance(results[0], tuple):
    return tuple(map(np.stack, zip(*results, strict=True)))
  return np.stack(results)
