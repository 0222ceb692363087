"""The interface of all models, and what they compute alike."""

import functools
from typing import Any
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cgqn_jax.models import objective
from cgqn_jax.types import (
  Array,
  Batch,
  Elbo,
  Params,
  Scene,
  hide,
  hide_padding,
)

_BRIGHT = 2.0  # of a frame in [0, 1]; what a model drew is seldom so far out
# In errors.
_KINDS = {
  jnp.bool_: 'bool',
  jnp.floating: 'floats',
  jnp.integer: 'integers',
  jnp.uint8: 'uint8',
}


class Model:
  """What training, evaluation and figures need of a model: its public methods.

  All are pure functions of the parameters, a typed key and arrays. Noise is
  keyed by example: a scene gets the same noise in any batch and on any number
  of devices. The networks have a method, `bound_name`, that returns the
  targets' mean frames, a latent z, and the densities q and p of its steps.
  """

  bound_name = 'bound'
  per_target = False  # whether each target has a latent of its own

  def __init__(
    self,
    networks: nn.Module,
    pixel_variance: optax.Schedule,
    kl_weight: optax.Schedule | None = None,
  ):
    """Schedules map the number of updates to a value.

    Args:
      networks: of the model.
      pixel_variance: sigma^2 of the likelihood.
      kl_weight: what a nat of the KL costs in training; 1 by default.
    """
    self.networks = networks
    self.pixel_variance = pixel_variance
    self.kl_weight = kl_weight or optax.constant_schedule(1.0)

  @functools.partial(jax.jit, static_argnums=0)
  def init(self, key: Array) -> Params:
    """Fresh parameters; compiled once per model, however many the keys."""
    inputs = self._inputs(key, self._blank())
    return self.networks.init(key, *inputs, method=self.bound_name)['params']

  def sample(
    self,
    params: Params,
    key: Array,
    context: Scene,
    context_mask: Array,
    views: Array,
    num_samples: int = 1,
    example_id: Array | None = None,
    first_sample: Array | int = 0,
  ) -> Array:
    """Any frames in, any frames out.

    Args:
      params: of this model.
      key: a typed key; example b, sample s draws from a key of its own.
      context: frames [B, C, H, W, 3] and views [B, C, V] float32. Frames are
        uint8, 0 to 255, or floats, of which 0 is black and 1 is white: divide
        bytes by 255 before they become floats. No other integers are taken.
      context_mask: [B, C] bool, False for padding, whatever it holds.
      views: [B, T, V] queries.
      num_samples: S.
      example_id: [B] int32, default 0 .. B - 1.
      first_sample: number of the first of the S samples, so that many can be
        drawn in parts.

    Returns:
      [S, B, T, H, W, 3] float32 mean frames, not clipped.

    Raises:
      ValueError: in one line, for arguments of other types or shapes; they are
        looked at when traced, too.

    Warns:
      where float frames go beyond 2 and are not traced: they were not divided.
    """
    view_size = getattr(self.networks, 'view_size', None)
    check_scene(
      'context',
      context,
      context_mask,
      getattr(self.networks, 'frame_size', None),
      view_size,
    )
    queries = len(context_mask), None, view_size
    check_array('views', views, queries, jnp.floating)
    _warn_of_bytes(context, context_mask)
    keys = sample_keys(key, len(views), example_id, num_samples, first_sample)
    return self._sample(params, keys, context, context_mask, views)

  def loss(
    self, params: Params, key: Array, batch: Batch, step: Array
  ) -> tuple[Array, dict[str, Any]]:
    """What training minimises, in nats per scene, and the bound's metrics."""
    raise NotImplementedError

  def elbo(
    self,
    params: Params,
    key: Array,
    batch: Batch,
    pixel_variance: Array | float,
  ) -> Elbo:
    """The bound of each scene, [B] nats, from one posterior draw."""
    batch = checked(batch)
    mean, z, q, p = self._bound(params, key, batch)
    return objective.elbo(
      mean, batch, z, q, p, pixel_variance, per_target=self.per_target
    )

  def reconstruct(self, params: Params, key: Array, batch: Batch) -> Array:
    """Targets rendered from one posterior draw, [B, T, H, W, 3]."""
    return self._bound(params, key, checked(batch))[0]

  def _bound(self, params: Params, key: Array, batch: Batch, **how: Any):
    """Mean frames, z, q, p; `how` as `_inputs` takes it."""
    inputs = self._inputs(key, batch, **how)
    return self._apply(self.bound_name, params, *inputs)

  def _sample(
    self, params: Params, keys: Array, context: Scene, mask: Array, views: Array
  ) -> Array:
    """As `sample`, from a key for each sample of each scene, [S, B]."""
    raise NotImplementedError

  def _inputs(self, key: Array, batch: Batch, **how: Any) -> tuple[Any, ...]:
    """What the networks' bound takes; by default as in evaluation."""
    raise NotImplementedError

  def _blank(self) -> Batch:
    """One scene of zeros."""
    raise NotImplementedError

  def _apply(self, method: str, params: Params, *args: Any) -> Any:
    return self.networks.apply({'params': params}, *args, method=method)


def blank(num_targets: int, frame_size: int, view_size: int) -> Batch:
  """One scene of zeros, with a context of one frame."""

  def scene(count: int) -> Scene:
    frames = jnp.zeros((1, count, frame_size, frame_size, 3))
    return Scene(frames, jnp.zeros((1, count, view_size)))

  return Batch(
    context=scene(1),
    context_mask=jnp.ones((1, 1), bool),
    target=scene(num_targets),
    target_mask=jnp.ones((1, num_targets), bool),
    weight=jnp.ones((1,)),
    example_id=jnp.zeros((1,), jnp.int32),
  )


def sample_keys(
  key: Array,
  batch_size: int,
  example_id: Array | None = None,
  num_samples: int = 1,
  first_sample: Array | int = 0,
) -> Array:
  """A key for each sample of each example, [S, B]; of nothing else.

  example_id: [B], by default 0 .. B - 1.

  Raises:
    ValueError: for a raw key, as of jax.random.PRNGKey, several keys, or no
      samples.
  """
  _check_key(key)
  if not isinstance(num_samples, int | np.integer) or num_samples < 1:
    raise ValueError(
      f'num_samples is {num_samples}; it must be a whole number from 1 on'
    )
  if example_id is None:
    example_id = jnp.arange(batch_size)
  check_array('example_id', example_id, (batch_size,), jnp.integer)

  def fold(sample: Array, example: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, example), sample)

  over_examples = jax.vmap(fold, in_axes=(None, 0))
  return jax.vmap(over_examples, in_axes=(0, None))(
    first_sample + jnp.arange(num_samples), example_id
  )


def check_array(
  name: str, x: Any, shape: tuple[int | None, ...], dtype: Any
) -> None:
  """ValueError, in one line, unless x is an array of this shape and type.

  Args:
    name: of the argument.
    x: a NumPy or JAX array, traced or not.
    shape: None for any size.
    dtype: or a kind of them, as jnp.floating.
  """
  sizes = ', '.join('any' if n is None else str(n) for n in shape)
  wanted = f'an array of {_KINDS[dtype]}, [{sizes}]'
  if not hasattr(x, 'dtype') or not hasattr(x, 'shape'):
    raise ValueError(f'{name} is a {type(x).__name__}; it must be {wanted}')
  fits = len(x.shape) == len(shape) and all(
    asked in (None, there) for there, asked in zip(x.shape, shape, strict=True)
  )
  if not fits or not jnp.issubdtype(x.dtype, dtype):
    raise ValueError(
      f'{name} is of {x.dtype}, {list(x.shape)}; it must be {wanted}'
    )


def check_scene(
  name: str,
  scene: Scene,
  mask: Array,
  size: int | None = None,
  view_size: int | None = None,
) -> None:
  """ValueError, in one line, unless a Scene and its mask [B, N] fit.

  Args:
    name: of the scene, as 'context'.
    scene: frames [B, N, H, W, 3] and views [B, N, V].
    mask: bool.
    size: H = W; None for any.
    view_size: V.
  """
  if not isinstance(scene, Scene):
    raise ValueError(
      f'{name} is a {type(scene).__name__}; it must be a Scene(frames, views)'
    )
  check_array(f'{name}_mask', mask, (None, None), jnp.bool_)
  frames, dtype = scene.frames, getattr(scene.frames, 'dtype', jnp.uint8)
  if dtype != jnp.uint8 and not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f'{name}.frames are {dtype}; they must be uint8, 0 to 255, or floats in '
      '[0, 1]'
    )
  kind = jnp.uint8 if dtype == jnp.uint8 else jnp.floating
  check_array(f'{name}.frames', frames, (*mask.shape, size, size, 3), kind)
  check_array(
    f'{name}.views', scene.views, (*mask.shape, view_size), jnp.floating
  )


def checked(batch: Batch) -> Batch:
  """The batch without what its padding holds; ValueError if it does not fit."""
  check_scene('context', batch.context, batch.context_mask)
  check_scene('target', batch.target, batch.target_mask)
  return hide_padding(batch)


def is_traced(*arrays: Any) -> bool:
  """Tells whether the values of some arrays cannot be looked at."""
  return any(isinstance(x, jax.core.Tracer) for x in arrays)


def _check_key(key: Any) -> None:
  dtype = getattr(key, 'dtype', None)
  if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
    what = type(key).__name__ if dtype is None else f'an array of {dtype}'
    raise ValueError(
      f'key is {what}; it must be a typed key, jax.random.key(seed), which '
      'jax.random.PRNGKey(seed) is not'
    )
  if key.shape:
    raise ValueError(f'key is {list(key.shape)} keys; it must be one')


def _warn_of_bytes(context: Scene, mask: Array) -> None:
  """Warns of floats that must have been 0 to 255."""
  frames = context.frames
  if is_traced(frames, mask) or frames.dtype == jnp.uint8:
    return
  # NaN is not larger than anything.
  if bool(jnp.any(hide(context, mask).frames > _BRIGHT)):
    warnings.warn(
      f'context.frames are {frames.dtype} beyond {_BRIGHT:g}, and floats must '
      'be in [0, 1]: divide by 255, or give uint8',
      stacklevel=3,
    )


def flatten(latent: Any) -> Any:
  """[S, B, ...] -> [S B, ...] of every part."""
  return jax.tree.map(
    # Not -1: a part may have no channels.
    lambda x: x.reshape((x.shape[0] * x.shape[1],) + x.shape[2:]),
    latent,
  )


def repeat(x: Array, samples: int) -> Array:
  """[B, ...] -> [S B, ...], the same for each of S samples."""
  return jnp.tile(x, (samples,) + (1,) * (x.ndim - 1))
