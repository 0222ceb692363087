"""Stories become frames: one anti-aliased painter for NumPy and JAX (4.1).

A shape is an intersection of half planes, or a circle; its edge is a linear
ramp one pixel wide. `B` scenes, `T` frames, `N` shapes, `H W` image.
"""

from collections.abc import Callable
import functools
import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.simulators.narratives.stories import (
  CIRCLE,
  PALETTE,
  PENTAGON,
  SQUARE,
  STRETCH,
  TRIANGLE,
  Story,
)

Array = Any  # of NumPy or of JAX


def _half_planes() -> tuple[np.ndarray, np.ndarray]:
  """Edge normals [kind, 3, 2] and distances in radii [kind].

  All shapes are mirror images of themselves, so that the edges on the right
  half do: three at most, repeated where there are fewer.
  """
  degrees = [
    (0, 0, 0),  # a circle has none
    (0, 90, -90),
    (-30, 90, 90),
    (-54, 18, 90),
    (0, 0, 0),  # the panel, of full height
  ]
  # The distance of an edge of a regular polygon, from its circumradius.
  distance = [1.0] * len(degrees)
  for kind, sides in (SQUARE, 4), (TRIANGLE, 3), (PENTAGON, 5):
    distance[kind] = STRETCH[kind] * math.cos(math.pi / sides)
  angle = np.deg2rad(np.array(degrees, np.float64))
  normal = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  return normal.astype(np.float32), np.array(distance, np.float32)


_NORMAL, _DISTANCE = _half_planes()
_LEVEL = PALETTE.astype(np.float32) / np.float32(255)


def render(story: Story, frame_size: int) -> np.ndarray:
  """Paints one story with NumPy, which needs no compiling.

  Args:
    story: as `sample` gives it; any number of frames.
    frame_size: H = W, in pixels.

  Returns:
    [T, H, W, 3] uint8.

  Raises:
    ValueError: if the frame size is not positive.
  """
  frames = _paint(*_seen(story, frame_size), frame_size=frame_size, xp=np)
  return np.moveaxis(frames, -3, -1)


def render_batch(stories: Story, frame_size: int) -> jax.Array:
  """Paints a batch of stories in one compiled call.

  To render some frames only, gather `positions` and `color` at their indices
  first: T is whatever is given.

  Args:
    stories: a batch, [B, ...] in every field (`stack` makes one).
    frame_size: H = W, in pixels.

  Returns:
    [B, T, H, W, 3] uint8, on the default device.

  Raises:
    ValueError: if the frame size is not positive.
  """
  return _render_batch(_seen(stories, frame_size), frame_size)


def _seen(story: Story, frame_size: int) -> list[Array]:
  """What is seen: the first two by frame, the others throughout."""
  if frame_size < 1:
    raise ValueError(f'frame_size is {frame_size}; it must be at least 1.')
  fields = 'positions', 'color', 'kind', 'radius', 'order'
  return [getattr(story, field) for field in fields]


@functools.partial(jax.jit, static_argnames='frame_size')
def _render_batch(seen: list[Array], frame_size: int) -> jax.Array:
  def paint_all(over: Callable, seen: list[Array]) -> jax.Array:
    def paint_scene(scene: list[Array]) -> jax.Array:
      def paint_frame(frame: list[Array]) -> jax.Array:
        return _paint(*frame, *scene[2:], frame_size=frame_size, xp=jnp)

      return over(paint_frame, scene[:2])

    return over(paint_scene, seen)

  frames = jax.lax.platform_dependent(
    seen,
    # On a CPU the working set of one frame stays in the cache: 6 times faster.
    cpu=functools.partial(paint_all, jax.lax.map),
    default=functools.partial(paint_all, lambda f, xs: jax.vmap(f)(xs)),
  )
  return jnp.moveaxis(frames, -3, -1)


def _paint(
  positions: Array,
  color: Array,
  kind: Array,
  radius: Array,
  order: Array,
  *,
  frame_size: int,
  xp: ModuleType,
) -> Array:
  """Frames [..., 3, H, W] uint8 of N shapes.

  positions: [..., N, 2], color: [..., N]; the others: [N].
  """

  def add(canvas: Array, shape: tuple[Array, ...]) -> tuple[Array, None]:
    center, level, kind, radius = shape
    cover = _coverage(center, kind, radius, frame_size, xp)
    shade = level[..., None, None]
    return canvas + (shade - canvas) * cover[..., None, :, :], None

  canvas = xp.zeros((*color.shape[:-1], 3, frame_size, frame_size), np.float32)
  centers = xp.moveaxis(positions[..., order, :], -2, 0)
  levels = xp.moveaxis(xp.asarray(_LEVEL)[color[..., order]], -2, 0)
  shapes = centers, levels, kind[order], radius[order]
  if xp is np:
    for shape in zip(*shapes, strict=True):
      canvas, _ = add(canvas, shape)
  else:
    canvas, _ = jax.lax.scan(add, canvas, shapes)
  return xp.floor(255 * canvas + 0.5).astype(np.uint8)


def _coverage(
  center: Array,
  kind: Array,
  radius: Array,
  frame_size: int,
  xp: ModuleType,
) -> Array:
  """How much of each pixel a shape covers: [..., H, W], centers [..., 2]."""
  pixel = (xp.arange(frame_size, dtype=np.float32) + 0.5) / frame_size
  x = xp.abs(pixel - center[..., :1])[..., None, :]
  y = (pixel - center[..., 1:])[..., :, None]
  normal = xp.asarray(_NORMAL)[kind]
  first, second, third = (x * n[0] + y * n[1] for n in normal)
  polygon = xp.maximum(xp.maximum(first, second), third)
  circle = xp.sqrt(x * x + y * y)
  depth = xp.where(kind == CIRCLE, circle, polygon)
  apothem = radius * xp.asarray(_DISTANCE)[kind]
  return xp.clip(0.5 - frame_size * (depth - apothem), 0.0, 1.0)
