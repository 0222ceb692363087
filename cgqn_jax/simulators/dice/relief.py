"""Digits as smooth height maps, with their slopes (paper, section 4.2)."""

import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.simulators.dice.textures import SIDE

Array = jax.Array | np.ndarray


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
