"""Generative Query Networks: a latent of its own for every target.

The baseline of the paper's section 4 (Eslami et al., 2018), matched to CGQN:
the same networks, but p(F | C, V) = prod_i p(f_i | r, v_i), so each target has
its own z, and the prior and posterior of it see the query v_i. Nothing makes
the frames of one sample agree.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cgqn_jax.models import densities
from cgqn_jax.models.cgqn import Latent, LatentModel, lead
from cgqn_jax.models.model import (
  check_array,
  flatten,
  repeat,
  sample_keys,
)
from cgqn_jax.types import Array, Batch, Params, Scene


class GQN(LatentModel):
  """One latent per query, [S, B, T, K, h, w, Z].

  `prior` and `posterior` take the queries, and `render` the same ones again.
  """

  bound_name, per_target = 'bound_each', True

  def prior(
    self,
    params: Params,
    key: Array,
    r: Array,
    views: Array,
    num_samples: int = 1,
    example_id: Array | None = None,
    first_sample: Array | int = 0,
  ) -> Latent:
    """Draws latents of the queries views [B, T, V] given r [B, ...]."""
    keys = sample_keys(key, len(r), example_id, num_samples, first_sample)
    return self._prior(params, keys, r, views)

  def posterior(
    self,
    params: Params,
    key: Array,
    r: Array,
    targets: Scene,
    num_samples: int = 1,
    example_id: Array | None = None,
  ) -> tuple[Latent, Array]:
    """Draws latents that explain each target, and their KLs [S, B, T].

    All targets count: there is no padding among them.
    """
    keys = sample_keys(key, len(r), example_id, num_samples)
    keys = _of_queries(keys, targets.views.shape[1])
    r_target = self._apply('encode_each', params, targets)
    z, q, p = self._apply(
      'infer',
      params,
      r[None, :, None],
      r_target[None],
      self._noise(keys),
      targets.views[None],
    )
    return Latent(z, r), jnp.sum(densities.kl_of_steps(q, p, 3), axis=3)

  def render(self, params: Params, latent: Latent, views: Array) -> Array:
    """The queries of the latents [B, T, V]: [S, B, T, H, W, 3], not clipped."""
    samples, batch, queries = lead(latent.z, 3)
    shape = batch, queries, self.networks.view_size
    check_array('views', views, shape, jnp.floating)
    frames = self._apply(
      'render_each',
      params,
      flatten(latent.z),
      repeat(latent.r, samples)[:, None],
      repeat(views, samples),
    )
    return frames.reshape((samples, batch) + frames.shape[1:])

  def _prior(
    self, params: Params, keys: Array, r: Array, views: Array
  ) -> Latent:
    noise = self._noise(_of_queries(keys, views.shape[1]))
    r_each = r[None, :, None]
    z = self._apply('sample_prior', params, r_each, noise, views[None])
    return Latent(z, r)

  def _inputs(
    self,
    key: Array,
    batch: Batch,
    shown: Batch | None = None,
    relaxed: Array | float = 0.0,
  ) -> tuple[Any, ...]:
    """Renders the targets of `shown`; by default all of the batch's."""
    shown = batch if shown is None else shown  # what is not drawn is not seen
    scenes, queries = shown.target_mask.shape
    keys = sample_keys(key, scenes, shown.example_id)
    return shown, self._noise(_of_queries(keys, queries)[0]), relaxed


def _of_queries(keys: Array, queries: int) -> Array:
  """Keys [S, B] -> a key for each place among the queries, [S, B, T]."""

  def fold(key: Array) -> Array:
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(queries))

  return jax.vmap(fold)(keys.ravel()).reshape(keys.shape + (queries,))
