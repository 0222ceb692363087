"""The interface of all models, and what they compute alike."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cgqn_jax.models import objective
from cgqn_jax.types import Array, Batch, Elbo, Params, Scene


class Model:
  """What training, evaluation and figures need of a model: its public methods.

  All are pure functions of the parameters, a typed key and arrays. Noise is
  keyed by example: a scene gets the same noise in any batch and on any number
  of devices. The networks have a method, `bound_name`, that returns the
  targets' mean frames, a latent z, and the normals q and p of its steps.
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
      context: frames [B, C, H, W, 3] (uint8, or float32 in [0, 1]) and
        views [B, C, V].
      context_mask: [B, C] bool, False for padding.
      views: [B, T, V] queries.
      num_samples: S.
      example_id: [B] int32, default 0 .. B - 1.
      first_sample: number of the first of the S samples, so that many can be
        drawn in parts.

    Returns:
      [S, B, T, H, W, 3] float32 mean frames, not clipped.
    """
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
    mean, z, q, p = self._bound(params, key, batch)
    return objective.elbo(
      mean, batch, z, q, p, pixel_variance, per_target=self.per_target
    )

  def reconstruct(self, params: Params, key: Array, batch: Batch) -> Array:
    """Targets rendered from one posterior draw, [B, T, H, W, 3]."""
    return self._bound(params, key, batch)[0]

  def _bound(self, params: Params, key: Array, batch: Batch, *how: Any):
    """Mean frames, z, q, p; `how` as `_inputs` takes it."""
    inputs = self._inputs(key, batch, *how)
    return self._apply(self.bound_name, params, *inputs)

  def _sample(
    self, params: Params, keys: Array, context: Scene, mask: Array, views: Array
  ) -> Array:
    """As `sample`, from a key for each sample of each scene, [S, B]."""
    raise NotImplementedError

  def _inputs(self, key: Array, batch: Batch, *how: Any) -> tuple[Any, ...]:
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
  """
  if example_id is None:
    example_id = jnp.arange(batch_size)

  def fold(sample: Array, example: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, example), sample)

  over_examples = jax.vmap(fold, in_axes=(None, 0))
  return jax.vmap(over_examples, in_axes=(0, None))(
    first_sample + jnp.arange(num_samples), example_id
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
