"""What the sequential baselines share: the interface of CGQN, and its limits.

Paper, section 4.1, where they are what CGQN is compared with. They read the
first frames of a video in order and predict the others one after the other:
context is frames 0 .. C - 1, targets are frames C .. N - 1.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cgqn_jax.models import densities, objective
from cgqn_jax.models.model import (
  Model,
  blank,
  check_array,
  checked,
  is_traced,
  sample_keys,
)
from cgqn_jax.types import Array, Batch, Params, Scene, hide, to_unit


class Stage(NamedTuple):
  """Where training stands.

  truth: probability that a frame after the context is predicted from the true
    frame before it, instead of from the model's own.
  informed: whether latents come from the posterior; else from the prior.
  """

  truth: Array | float
  informed: Array | bool


class Noise(NamedTuple):
  """latent: [B, K, h, w, Z] standard normal;  coin: [B, N - 1] uniform."""

  latent: Array
  coin: Array


EVALUATION = Stage(truth=0.0, informed=True)


class Sequential(Model):
  """A sequential model: reads the first frames and rolls them on.

  Contexts are frames 0 .. C - 1 in order, without padding; queries may come in
  any order. `sample` raises what `check_sequential` does, unless the views are
  traced. `networks` has the fields `frame_size` and `num_frames`, the property
  `latent_shape`, and the methods `bound(video, num_context, noise, stage)` and
  `sample(context, noise, index)`.
  """

  def __init__(
    self,
    networks: nn.Module,
    pixel_variance: optax.Schedule,
    kl_weight: optax.Schedule | None = None,
    *,
    truth: optax.Schedule | None = None,
    informed: optax.Schedule | None = None,
    free_nats: float = 0.0,
  ):
    """Takes what `Model` takes, and what sequential models add in training.

    Args:
      truth: `Stage.truth`; 0 by default.
      informed: `Stage.informed`, 0 or 1; 1 by default.
      free_nats: as many nats of each latent map cost nothing.
    """
    super().__init__(networks, pixel_variance, kl_weight)
    self.truth = truth or optax.constant_schedule(0.0)
    self.informed = informed or optax.constant_schedule(1.0)
    self.free_nats = free_nats

  def loss(
    self, params: Params, key: Array, batch: Batch, step: Array
  ) -> tuple[Array, dict[str, Any]]:
    """What training minimises, and metrics, whose `loss` is the bound's.

    The two differ by the KL that is not charged (yet), see `kl_weight` and
    `free_nats`.
    """
    batch = checked(batch)
    variance = self.pixel_variance(step)
    key = jax.random.fold_in(key, step)
    stage = Stage(self.truth(step), self.informed(step) > 0.5)
    mean, z, q, p = self._bound(params, key, batch, stage=stage)
    bound = objective.elbo(mean, batch, z, q, p, variance)
    each = jnp.sum(densities.kl(q, p), axis=densities.EVENT_AXES)
    charged = jnp.sum(jnp.maximum(each - self.free_nats, 0), axis=1)
    uncharged = bound.kl - self.kl_weight(step) * charged
    return objective.loss_and_metrics(
      bound, mean, batch, q, p, variance, uncharged=uncharged
    )

  def _sample(
    self, params: Params, keys: Array, context: Scene, mask: Array, views: Array
  ) -> Array:
    net, (batch, count) = self.networks, mask.shape
    check_array('views', views, (batch, None, 1), jnp.floating)
    if not is_traced(mask) and not np.all(mask):
      raise ValueError(
        'context_mask marks padding; cdna, sv2p and sssm read the first frames '
        'of a video, as many in every scene: leave the padding away, or use '
        'cgqn or gqn'
      )
    if not is_traced(context.views, views):
      check_sequential(context.views, views, net.num_frames, queries=True)
    context = hide(context, mask)  # where the mask is traced
    noise = self._noise(keys).latent
    index = jnp.round(views[..., 0] * (net.num_frames - 1)).astype(jnp.int32)
    frames = to_unit(context.frames)
    predicted = self._apply('sample', params, frames, noise, index - count)
    # A query for a frame of the context is answered with that frame.
    given = pick(frames, jnp.minimum(index, count - 1))[None]
    asked = jnp.expand_dims(index < count, (0, -1, -2, -3))
    answer = jnp.where(asked, given, predicted)
    return jnp.broadcast_to(answer, (len(keys), *answer.shape[1:]))

  def _inputs(
    self, key: Array, batch: Batch, stage: Stage = EVALUATION
  ) -> tuple[Any, ...]:
    net, scenes = self.networks, len(batch.weight)
    video = jnp.concatenate(
      [to_unit(batch.context.frames), to_unit(batch.target.frames)], axis=1
    )
    size = net.frame_size
    shape = scenes, net.num_frames, size, size, 3
    check_array('the video of context and targets', video, shape, jnp.floating)
    keys = sample_keys(key, scenes, batch.example_id)[0]
    return video, batch.context_mask.shape[1], self._noise(keys), stage

  def _blank(self) -> Batch:
    return blank(self.networks.num_frames - 1, self.networks.frame_size, 1)

  def _noise(self, keys: Array) -> Noise:
    """Noise of a video for each of the keys [...]."""
    latent, steps = self.networks.latent_shape, self.networks.num_frames - 1

    def draw(key: Array) -> Noise:
      coin = jax.random.uniform(jax.random.fold_in(key, 1), (steps,))
      return Noise(jax.random.normal(key, latent), coin)

    for _ in keys.shape:
      draw = jax.vmap(draw)
    return draw(keys)


def check_sequential(
  context_views: np.ndarray,
  target_views: np.ndarray,
  num_frames: int,
  *,
  queries: bool = False,
) -> None:
  """ValueError unless a sequential model can read and predict these frames.

  Args:
    context_views: [..., C, V] concrete; padding counts as what it holds.
    target_views: [..., T, V].
    num_frames: N of the video.
    queries: whether the targets are only asked for, as of `sample`: then any
      frames will do. Else, as in training and for bounds, they must be all
      the frames after the context.
  """
  contexts = _indices('context', context_views, num_frames)
  targets = _indices('target', target_views, num_frames)
  count = contexts.shape[1]
  for row in contexts:
    if count < 1 or not np.array_equal(row, np.arange(count)):
      raise ValueError(
        f'the context is {_name(row)}; cdna, sv2p and sssm read the first '
        'frames of a video in order, from frame 0 on; for any other context '
        'use cgqn or gqn'
      )
  for row in [] if queries else targets:
    if not np.array_equal(row, np.arange(count, num_frames)):
      raise ValueError(
        f'the targets are {_name(row)}; cdna, sv2p and sssm are trained and '
        f'scored on all frames after the context, {count} to '
        f'{num_frames - 1} in order; for any other targets use cgqn or gqn'
      )


def _indices(name: str, views: np.ndarray, num_frames: int) -> np.ndarray:
  """Frame numbers, a row per scene."""
  views = np.asarray(views)
  if views.shape[-1] != 1:
    raise ValueError(
      f'the {name} views have {views.shape[-1]} numbers each; cdna, sv2p and '
      'sssm know timestamps alone; for cameras use cgqn or gqn'
    )
  exact = views[..., 0] * (num_frames - 1)
  index = np.round(exact).astype(int)
  wrong = (np.abs(exact - index) > 0.01) | (index < 0) | (index >= num_frames)
  if np.any(wrong):
    raise ValueError(
      f'the {name} has timestamp {views[wrong][0, 0]:g}; cdna, sv2p and sssm '
      f'know those of the {num_frames} frames alone, multiples of '
      f'1/{num_frames - 1} from 0 to 1; for others use cgqn or gqn'
    )
  return index.reshape((math.prod(index.shape[:-1]), index.shape[-1]))


def _name(row: np.ndarray) -> str:
  return f'frames {", ".join(map(str, row))}' if row.size else 'empty'


def pick(x: Array, index: Array) -> Array:
  """x [B, n, ...] and index [B, T] -> [B, T, ...]: NaN past the end."""
  take = jax.vmap(lambda x, i: jnp.take(x, i, axis=0, mode='fill'))
  return take(x, jnp.maximum(index, 0))
