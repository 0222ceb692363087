"""The data structures that every module shares, and the one shape legend.

`B` scenes on a device, `N` views in a scene, `C` context views, `T` target
views, `S` samples, `H W` image, `h w` latent grid, `V` viewpoint width,
`R` representation channels, `Z` latent channels, `K` DRAW steps.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Params = Any  # a tree of parameter arrays


class Scene(NamedTuple):
  """Viewpoint-frame pairs of one or more scenes (paper, section 3.1).

  frames: [..., N, H, W, 3]; uint8 on the host, float32 in [0, 1] once
    `to_unit` has been applied on the device.
  views: [..., N, V] float32; a timestamp in [0, 1] for videos, the camera
    (x, y, z, sin yaw, cos yaw, sin pitch, cos pitch) for rooms.
  """

  frames: Array
  views: Array


class Batch(NamedTuple):
  """One batch of scenes, split into context and target.

  context: Scene [B, C, ...];  context_mask: [B, C] bool, False is padding.
  target: Scene [B, T, ...];   target_mask: [B, T] bool, False is padding.
  weight: [B] float32; 0 for scenes that only fill up a last batch.
  example_id: [B] int32; names the scene and keys its noise.
  hidden_side: [B] int32, the side of a die that only targets show; None in
    training and for other scenes.
  """

  context: Scene
  context_mask: Array
  target: Scene
  target_mask: Array
  weight: Array
  example_id: Array
  hidden_side: Array | None = None


class Normal(NamedTuple):
  """A diagonal normal; mean and log_std are [..., h, w, Z] or [..., G]."""

  mean: Array
  log_std: Array


class Categorical(NamedTuple):
  """Choices of one of n things; logits [..., n], whose softmax sums to 1."""

  logits: Array


Density = Normal | Categorical


class LatentParts(NamedTuple):
  """A latent of numbers in two parts: arrays, normals or shapes (residual).

  map: [..., K, h, w, Z], local.
  vector: [..., K, G], global.
  """

  map: Any
  vector: Any


class Choices(NamedTuple):
  """A latent of two choices a step: arrays, densities or shapes (residual).

  cell: [..., K, h w], one-hot: a cell of the state, local.
  code: [..., K, C], one-hot, global.
  """

  cell: Any
  code: Any


class Elbo(NamedTuple):
  """Parts of the bound per scene, in nats, over all targets and DRAW steps.

  log_likelihood: [B] log p(F | z, V) with every constant.
  kl: [B] KL(q(z | C, F) || p(z | C)), in closed form, step by step.
  log_ratio: [B] log q(z) - log p(z) of the drawn z, whose mean is the KL:
    log_likelihood - log_ratio is the log weight of the importance-weighted
    bound.
  """

  log_likelihood: Array
  kl: Array
  log_ratio: Array


def to_unit(frames: Array) -> Array:
  """Frames for the networks: float32 in [0, 1].

  uint8 is divided by 255; floats are taken to be in [0, 1] and stay as they
  are.

  Raises:
    ValueError: for other numbers, whose white nobody knows.
  """
  if frames.dtype == jnp.uint8:
    return frames.astype(jnp.float32) / 255.0
  if not jnp.issubdtype(frames.dtype, jnp.floating):
    raise ValueError(
      f'frames are {frames.dtype}; they must be uint8, 0 to 255, or floats in '
      '[0, 1]'
    )
  return frames


def hide(scene: Scene, mask: Array) -> Scene:
  """Zeros where the mask [..., N] is False: padding reaches no network.

  A product with the mask would let NaN through, and so would one selection at
  the end, in the gradient.
  """
  each = jnp.asarray(mask)[..., None]
  return Scene(
    jnp.where(each[..., None, None], scene.frames, 0),
    jnp.where(each, scene.views, 0),
  )


def hide_padding(batch: Batch) -> Batch:
  """A batch whose padding is zeros."""
  return batch._replace(
    context=hide(batch.context, batch.context_mask),
    target=hide(batch.target, batch.target_mask),
  )
