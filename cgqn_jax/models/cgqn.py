"""Consistent Generative Query Networks (paper, section 3).

r = sum_j M_theta(v_j, f_j);  z ~ P_phi(z | r);  f_i = M_gamma(z, v_i): one
latent per scene, so that all frames of one sample agree.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cgqn_jax.models import densities, objective
from cgqn_jax.models.model import (
  Model,
  blank,
  check_array,
  check_scene,
  checked,
  flatten,
  repeat,
  sample_keys,
)
from cgqn_jax.models.networks import Networks
from cgqn_jax.models.residual import ResidualNetworks
from cgqn_jax.types import Array, Batch, Params, Scene, hide


class Latent(NamedTuple):
  """All that rendering needs: keep it, and query it whenever you like.

  z: [S, B, K, h, w, Z]; of residual networks
    `LatentParts` or `Choices`, each part [S, B, K, ...].
  r: [B, H/4, W/4, R] the context's representation, as `encode` returns it; the
    paper's renderer makes use of it only with `renderer_sees_context`.
  """

  z: Any
  r: Array


class LatentModel(Model):
  """What CGQN and GQN share; each adds `prior`, `posterior` and `render`."""

  def __init__(
    self,
    networks: Networks | ResidualNetworks,
    pixel_variance: optax.Schedule,
    kl_weight: optax.Schedule | None = None,
    num_rendered: int = 0,
  ):
    """Takes what `Model` takes, and `num_rendered`.

    num_rendered: targets that training renders, of those that the posterior
      saw, a random choice in each scene; 0 for all.
    """
    super().__init__(networks, pixel_variance, kl_weight)
    self.num_rendered = num_rendered

  def encode(self, params: Params, scene: Scene, mask: Array) -> Array:
    """The representation r of the frames that `mask` marks, from their sum.

    Args:
      params: of this model.
      scene: frames [B, N, H, W, 3] uint8, or floats in [0, 1]; views
        [B, N, V].
      mask: [B, N] bool; a scene without any frame is legal.

    Returns:
      [B, H/4, W/4, R]; residual networks add channels to the R.
    """
    sizes = self.networks.frame_size, self.networks.view_size
    check_scene('scene', scene, mask, *sizes)
    return self._apply('encode', params, hide(scene, mask), mask)

  def loss(
    self, params: Params, key: Array, batch: Batch, step: Array
  ) -> tuple[Array, dict[str, Any]]:
    """What training minimises, in nats per scene, and metrics.

    The negative ELBO at the schedule's variance, less the KL that is not
    charged (yet). Where only `num_rendered` of the targets are rendered, their
    likelihood stands for all: the mean over the choice is the bound. The
    metrics, `loss` among them, have all of the KL. Where choices are relaxed
    (the weight of the KL is below 1), they are of such a draw, and no bound.
    """
    batch = checked(batch)
    variance = self.pixel_variance(step)
    key = jax.random.fold_in(key, step)
    shown, scale = self._rendered(key, batch)
    weight = self.kl_weight(step)
    mean, z, q, p = self._bound(
      params, key, batch, shown=shown, relaxed=1 - weight
    )
    options = {'per_target': self.per_target, 'scale': scale}
    bound = objective.elbo(mean, shown, z, q, p, variance, **options)
    uncharged = (1 - weight) * bound.kl
    return objective.loss_and_metrics(
      bound, mean, shown, q, p, variance, uncharged=uncharged, **options
    )

  def _sample(
    self, params: Params, keys: Array, context: Scene, mask: Array, views: Array
  ) -> Array:
    r = self.encode(params, context, mask)
    return self.render(params, self._prior(params, keys, r, views), views)

  def _prior(
    self, params: Params, keys: Array, r: Array, views: Array
  ) -> Latent:
    """Latents of the prior, one set for each of the keys [S, B]."""
    raise NotImplementedError

  def _blank(self) -> Batch:
    return blank(1, self.networks.frame_size, self.networks.view_size)

  def _rendered(self, key: Array, batch: Batch) -> tuple[Batch, Array]:
    """The batch with `num_rendered` of its targets, and its `scale` [B].

    The choice in a scene follows from the key and its example alone.
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
      pairs = zip(each, shapes, strict=True)
      return [jax.random.normal(part, shape) for part, shape in pairs]

    flat = jax.vmap(draw)(keys.ravel())
    noise = [x.reshape(keys.shape + x.shape[1:]) for x in flat]
    return jax.tree.unflatten(tree, noise)


class CGQN(LatentModel):
  """One latent per scene, [S, B, K, h, w, Z]: frames of a sample agree."""

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
    keys = sample_keys(key, len(r), example_id, num_samples, first_sample)
    return self._prior(params, keys, r)

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
    keys = sample_keys(key, len(r), example_id, num_samples)
    z, q, p = self._apply(
      'infer', params, r[None], r_target[None], self._noise(keys)
    )
    kl = jnp.sum(densities.kl_of_steps(q, p, 2), axis=2)
    return Latent(z, r), kl

  def render(self, params: Params, latent: Latent, views: Array) -> Array:
    """Any views [B, T, V] of every sample: [S, B, T, H, W, 3], not clipped."""
    samples, batch = lead(latent.z, 2)
    queries = batch, None, self.networks.view_size
    check_array('views', views, queries, jnp.floating)
    frames = self._apply(
      'render',
      params,
      flatten(latent.z),
      repeat(latent.r, samples),
      repeat(views, samples),
    )
    return frames.reshape((samples, batch) + frames.shape[1:])

  def _prior(
    self, params: Params, keys: Array, r: Array, views: Array | None = None
  ) -> Latent:
    del views  # one latent for all of them
    z = self._apply('sample_prior', params, r[None], self._noise(keys))
    return Latent(z, r)

  def _inputs(
    self,
    key: Array,
    batch: Batch,
    shown: Batch | None = None,
    relaxed: Array | float = 0.0,
  ) -> tuple[Any, ...]:
    """Renders the targets of `shown`; by default all of the batch's."""
    shown = batch if shown is None else shown
    keys = sample_keys(key, len(batch.weight), batch.example_id)[0]
    return batch, self._noise(keys), shown.target.views, relaxed


def _is_shape(x: Any) -> bool:
  return isinstance(x, tuple) and all(isinstance(size, int) for size in x)


def lead(latent: Any, count: int) -> tuple[int, ...]:
  """The first `count` sizes, which all parts share."""
  return jax.tree.leaves(latent)[0].shape[:count]
