"""Consistent Generative Query Networks (paper, section 3).

r = sum_j M_theta(v_j, f_j);  z ~ P_phi(z | r);  f_i = M_gamma(z, v_i): one
latent per scene, so that all frames of one sample agree.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from cgqn_jax.models import gaussian, objective
from cgqn_jax.models.networks import Networks
from cgqn_jax.models.residual import ResidualNetworks
from cgqn_jax.types import Array, Batch, Elbo, Params, Scene


class Latent(NamedTuple):
  """All that rendering needs: keep it, and query it whenever you like.

  z: [S, B, K, h, w, Z]; of residual networks also a vector [S, B, K, G].
  r: [B, H/4, W/4, R] the context's representation, of which the paper's
    renderer takes note only with `renderer_sees_context`.
  """

  z: Any
  r: Array


class LatentModel:
  """What CGQN and GQN share: pure functions of parameters, a key and arrays.

  Noise is keyed by example: the same scene gets the same noise in any batch
  and on any number of devices. A model adds `sample`, the name of the networks'
  method that computes its bound, and what that method takes.
  """

  bound_name: str
  per_target: bool  # whether each target has a latent of its own

  def __init__(
    self,
    networks: Networks | ResidualNetworks,
    pixel_variance: optax.Schedule,
    kl_weight: optax.Schedule | None = None,
    num_rendered: int = 0,
  ):
    """networks and schedules; see `loss` for the last two of these.

    num_rendered: targets that training renders, of those that the posterior
      saw, a random choice in each scene; 0 for all.
    """
    self.networks = networks
    self.pixel_variance = pixel_variance
    self.kl_weight = kl_weight or optax.constant_schedule(1.0)
    self.num_rendered = num_rendered

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
    inputs = self._inputs(key, batch, batch)
    return net.init(key, *inputs, method=self.bound_name)['params']

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
    return self._apply('encode', params, scene, mask)

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

  def loss(
    self, params: Params, key: Array, batch: Batch, step: Array
  ) -> tuple[Array, dict[str, Any]]:
    """What training minimises, in nats per scene, and metrics.

    The negative ELBO at the schedule's variance, less the KL that is not
    charged (yet). Where only `num_rendered` of the targets are rendered, their
    likelihood stands for all: the mean over the choice is the bound. The
    metrics, `loss` among them, are the bound's, with all of the KL.
    """
    variance = self.pixel_variance(step)
    key = jax.random.fold_in(key, step)
    shown, scale = self._rendered(key, batch)
    mean, z, q, p = self._bound(params, key, batch, shown)
    options = {'per_target': self.per_target, 'scale': scale}
    bound = objective.elbo(mean, shown, z, q, p, variance, **options)
    loss, metrics = objective.loss_and_metrics(
      bound, mean, shown, q, p, variance, **options
    )
    uncharged = (1 - self.kl_weight(step)) * bound.kl
    total = jnp.maximum(jnp.sum(batch.weight), 1e-8)
    return loss - jnp.sum(batch.weight * uncharged) / total, metrics

  def reconstruct(self, params: Params, key: Array, batch: Batch) -> Array:
    """Targets rendered from one posterior draw, [B, T, H, W, 3]."""
    return self._bound(params, key, batch)[0]

  def _bound(
    self, params: Params, key: Array, batch: Batch, shown: Batch | None = None
  ):
    """The targets of `shown` as the posterior of `batch` has them, z, q, p."""
    inputs = self._inputs(key, batch, batch if shown is None else shown)
    return self._apply(self.bound_name, params, *inputs)

  def _inputs(self, key: Array, batch: Batch, shown: Batch) -> tuple[Any, ...]:
    """What the networks' bound takes; `shown` has the targets to render."""
    raise NotImplementedError

  def _rendered(self, key: Array, batch: Batch) -> tuple[Batch, Array]:
    """The batch with `num_rendered` of its targets, and its `scale` [B].

    The choice in a scene follows from its example alone.
    """
    count = self.num_rendered
    if not 0 < count < batch.target_mask.shape[1]:
      return batch, jnp.ones_like(batch.weight)

    def order(example: Array, mask: Array) -> Array:
      key_ = jax.random.fold_in(jax.random.fold_in(key, example), 2**31 - 1)
      luck = jax.random.uniform(key_, mask.shape)
      return jnp.argsort(jnp.where(mask, luck, 2.0))[:count]

    index = jax.vmap(order)(batch.example_id, batch.target_mask)
    frames, views, mask = jax.tree.map(
      lambda x: jax.vmap(lambda rows, chosen: rows[chosen])(x, index),
      (*batch.target, batch.target_mask),
    )
    all_, some = jnp.sum(batch.target_mask, axis=1), jnp.sum(mask, axis=1)
    scale = all_ / jnp.maximum(some, 1)
    return batch._replace(target=Scene(frames, views), target_mask=mask), scale

  def _apply(self, method: str, params: Params, *args: Any) -> Any:
    return self.networks.apply({'params': params}, *args, method=method)

  def _noise(self, keys: Array) -> Any:
    """Standard normal [..., K, h, w, Z], from a key for each latent [...].

    A pytree of such where the latent is one.
    """
    shapes, tree = jax.tree.flatten(
      self.networks.latent_shape, is_leaf=_is_shape
    )

    def draw(key: Array) -> list[Array]:
      if len(shapes) == 1:
        return [jax.random.normal(key, shapes[0])]
      each = jax.random.split(key, len(shapes))
      return [jax.random.normal(*its) for its in zip(each, shapes, strict=True)]

    flat = jax.vmap(draw)(keys.ravel())
    noise = [x.reshape(keys.shape + x.shape[1:]) for x in flat]
    return jax.tree.unflatten(tree, noise)


class CGQN(LatentModel):
  """One latent per scene, [S, B, K, h, w, Z]: frames of a sample agree."""

  bound_name, per_target = 'bound', False

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
    z = self._apply('sample_prior', params, r[None], self._noise(keys))
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
      'infer', params, r[None], r_target[None], self._noise(keys)
    )
    kl = jnp.sum(gaussian.kl_of_steps(q, p, 2), axis=2)
    return Latent(z, r), kl

  def render(self, params: Params, latent: Latent, views: Array) -> Array:
    """Any views [B, T, V] of every sample: [S, B, T, H, W, 3], not clipped."""
    samples, batch = lead(latent.z, 2)
    chex.assert_shape(views, (batch, None, self.networks.view_size))
    frames = self._apply(
      'render',
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

  def _inputs(self, key: Array, batch: Batch, shown: Batch) -> tuple[Any, ...]:
    noise = self._noise(sample_keys(key, batch.example_id)[0])
    return batch, noise, shown.target.views


def _is_shape(x: Any) -> bool:
  return isinstance(x, tuple) and all(isinstance(size, int) for size in x)


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


def flatten(latent: Any) -> Any:
  """[S, B, ...] -> [S B, ...] of every part."""
  return jax.tree.map(
    # Not -1: a part may have no channels.
    lambda x: x.reshape((x.shape[0] * x.shape[1],) + x.shape[2:]),
    latent,
  )


def lead(latent: Any, count: int) -> tuple[int, ...]:
  """The first `count` sizes, which all parts share."""
  return jax.tree.leaves(latent)[0].shape[:count]
