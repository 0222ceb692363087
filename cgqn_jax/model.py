"""Consistent Generative Query Networks (paper, section 3).

r = sum_j M_theta(v_j, f_j);  z ~ P_phi(z | r);  f_i = M_gamma(z, v_i): one
latent a scene, so that all frames of one sample agree.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from cgqn_jax import gaussian, objective
from cgqn_jax.networks import Networks
from cgqn_jax.types import Array, Batch, Elbo, Params, Scene


class Latent(NamedTuple):
  """All that rendering needs: keep it, and query it whenever you like.

  z: [S, B, K, h, w, Z].
  r: [B, H/4, W/4, R] the context's representation, of which the renderer
    takes note only with `renderer_sees_context`.
  """

  z: Array
  r: Array


class CGQN:
  """The model as pure functions of parameters, a key and arrays.

  Noise is keyed by example: the same scene gets the same noise in any batch
  and on any number of devices.
  """

  def __init__(self, networks: Networks, pixel_variance: optax.Schedule):
    self.networks = networks
    self.pixel_variance = pixel_variance

  @functools.partial(jax.jit, static_argnums=0)
  def init(self, key: Array) -> Params:
    """Fresh parameters; compiled once a model, whatever the number of keys."""
    net = self.networks
    size, views = net.frame_size, net.view_size
    scene = Scene(jnp.zeros((1, 1, size, size, 3)), jnp.zeros((1, 1, views)))
    mask = jnp.ones((1, 1), bool)
    batch = Batch(
      scene, mask, scene, mask, jnp.ones((1,)), jnp.zeros((1,), jnp.int32)
    )
    noise = jnp.zeros((1, *net.latent_shape))
    return net.init(key, batch, noise, method=Networks.bound)['params']

  def encode(self, params: Params, scene: Scene, mask: Array) -> Array:
    """Sum of the representations of the frames that `mask` marks.

    Args:
      params: of this model.
      scene: frames [B, N, H, W, 3] uint8 or float32, views [B, N, V].
      mask: [B, N] bool; a scene without any frame is legal.

    Returns:
      [B, H/4, W/4, R].
    """
    size, views = self.networks.frame_size, self.networks.view_size
    chex.assert_shape(scene.frames, (*mask.shape, size, size, 3))
    chex.assert_shape(scene.views, (*mask.shape, views))
    return self._apply(Networks.encode, params, scene, mask)

  def prior(
    self,
    params: Params,
    key: Array,
    r: Array,
    num_samples: int = 1,
    example_id: Array | None = None,
    first_sample: Array | int = 0,
  ) -> Latent:
    """Draws latents given the context's representation r [B, ...]."""
    if example_id is None:
      example_id = jnp.arange(r.shape[0])
    keys = sample_keys(key, example_id, num_samples, first_sample)
    z = self._apply(Networks.sample_prior, params, r[None], self._noise(keys))
    return Latent(z, r)

  def posterior(
    self,
    params: Params,
    key: Array,
    r: Array,
    r_target: Array,
    num_samples: int = 1,
    example_id: Array | None = None,
  ) -> tuple[Latent, Array]:
    """Draws latents that also explain the targets, and their KL [S, B]."""
    if example_id is None:
      example_id = jnp.arange(r.shape[0])
    keys = sample_keys(key, example_id, num_samples)
    z, q, p = self._apply(
      Networks.infer, params, r[None], r_target[None], self._noise(keys)
    )
    kl = jnp.sum(gaussian.kl(q, p), axis=(2, 3, 4, 5))
    return Latent(z, r), kl

  def render(self, params: Params, latent: Latent, views: Array) -> Array:
    """Any views [B, T, V] of every sample: [S, B, T, H, W, 3], not clipped."""
    samples, batch = latent.z.shape[:2]
    chex.assert_shape(views, (batch, None, self.networks.view_size))
    frames = self._apply(
      Networks.render,
      params,
      flatten(latent.z),
      jnp.tile(latent.r, (samples, 1, 1, 1)),
      jnp.tile(views, (samples, 1, 1)),
    )
    return frames.reshape((samples, batch) + frames.shape[1:])

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
    """Any frames in, any frames out; all of one sample agree.

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
    r = self.encode(params, context, context_mask)
    latent = self.prior(params, key, r, num_samples, example_id, first_sample)
    return self.render(params, latent, views)

  def elbo(
    self,
    params: Params,
    key: Array,
    batch: Batch,
    pixel_variance: Array | float,
  ) -> Elbo:
    """The bound of each scene, [B] nats, from one posterior draw."""
    mean, z, q, p = self._bound(params, key, batch)
    return objective.elbo(mean, batch, z, q, p, pixel_variance)

  def loss(
    self, params: Params, key: Array, batch: Batch, step: Array
  ) -> tuple[Array, dict[str, Any]]:
    """Negative ELBO in nats a scene at the schedule's variance, and metrics."""
    variance = self.pixel_variance(step)
    key = jax.random.fold_in(key, step)
    mean, z, q, p = self._bound(params, key, batch)
    bound = objective.elbo(mean, batch, z, q, p, variance)
    return objective.loss_and_metrics(bound, mean, batch, q, p, variance)

  def reconstruct(self, params: Params, key: Array, batch: Batch) -> Array:
    """Targets rendered from one posterior draw, [B, T, H, W, 3]."""
    return self._bound(params, key, batch)[0]

  def _bound(self, params: Params, key: Array, batch: Batch):
    noise = self._noise(sample_keys(key, batch.example_id)[0])
    return self._apply(Networks.bound, params, batch, noise)

  def _apply(self, method: Callable, params: Params, *args: Any) -> Any:
    return self.networks.apply({'params': params}, *args, method=method)

  def _noise(self, keys: Array) -> Array:
    """Standard normal [..., K, h, w, Z], from a key for each latent [...]."""
    shape = self.networks.latent_shape
    flat = jax.vmap(lambda key: jax.random.normal(key, shape))(keys.ravel())
    return flat.reshape(keys.shape + shape)


def sample_keys(
  key: Array,
  example_id: Array,
  num_samples: int = 1,
  first_sample: Array | int = 0,
) -> Array:
  """A key for each sample of each example, [S, B]; of nothing else."""

  def fold(sample: Array, example: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, example), sample)

  over_examples = jax.vmap(fold, in_axes=(None, 0))
  return jax.vmap(over_examples, in_axes=(0, None))(
    first_sample + jnp.arange(num_samples), example_id
  )


def flatten(x: Array) -> Array:
  """[S, B, ...] -> [S B, ...]."""
  return x.reshape((-1,) + x.shape[2:])
