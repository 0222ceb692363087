"""What the sequential baselines share: the interface of CGQN, and its limits.

Paper, section 4.1, where they are what CGQN is compared with. They read the
first frames of a video in order and predict the others one after the other:
context is frames 0 .. C - 1, targets are frames C .. N - 1.
"""

import functools
import math
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cgqn_jax.models import gaussian, objective
from cgqn_jax.types import Array, Batch, Elbo, Params, Scene, to_unit


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

_NEVER = optax.constant_schedule(0.0)
_ALWAYS = optax.constant_schedule(1.0)


class Sequential:
  """A sequential model as pure functions of parameters, a key and arrays.

  `networks` has the fields `frame_size` and `num_frames`, the property
  `latent_shape`, and the methods `bound(video, num_context, noise, stage)` and
  `sample(context, noise, index, horizon)`. Noise is keyed by example, as
  CGQN's is.
  """

  def __init__(
    self,
    networks: nn.Module,
    pixel_variance: optax.Schedule,
    *,
    truth: optax.Schedule = _NEVER,
    informed: optax.Schedule = _ALWAYS,
    kl_weight: optax.Schedule = _ALWAYS,
    free_nats: float = 0.0,
  ):
    """Schedules map the number of updates to a value.

    Args:
      networks: of one of the models.
      pixel_variance: sigma^2 of the likelihood.
      truth: `Stage.truth` in training.
      informed: `Stage.informed` in training, 0 or 1.
      kl_weight: what a nat of the KL costs in training.
      free_nats: as many nats of each latent map cost nothing in training.
    """
    self.networks = networks
    self.pixel_variance = pixel_variance
    self.truth = truth
    self.informed = informed
    self.kl_weight = kl_weight
    self.free_nats = free_nats

  @functools.partial(jax.jit, static_argnums=0)
  def init(self, key: Array) -> Params:
    """Fresh parameters; compiled once a model, whatever the number of keys."""
    net = self.networks
    size = net.frame_size
    video = jnp.zeros((1, net.num_frames, size, size, 3))
    noise = Noise(
      jnp.zeros((1, *net.latent_shape)), jnp.zeros((1, net.num_frames - 1))
    )
    return net.init(key, video, 1, noise, EVALUATION, method='bound')['params']

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
    horizon: int | None = None,
  ) -> Array:
    """Rolls the first frames on and returns those asked for.

    Args:
      params: of this model.
      key: a typed key; example b, sample s draws from a key of its own.
      context: frames 0 .. C - 1 in order, [B, C, ...].
      context_mask: [B, C], all True: see `check_sequential`.
      views: [B, T, 1] queries, in any order. A frame of the context is
        answered with itself.
      num_samples: S.
      example_id: [B] int32, default 0 .. B - 1.
      first_sample: number of the first of the S samples.
      horizon: no frame from this one on is asked for, nor computed (NaN where
        one is): `horizon_of(views, num_frames)`. Default: all N frames.

    Returns:
      [S, B, T, H, W, 3] float32 mean frames, not clipped.

    Raises:
      ValueError: as `check_sequential`, unless the views are traced.
    """
    net = self.networks
    size, count = net.frame_size, context_mask.shape[1]
    chex.assert_shape(context.frames, (*context_mask.shape, size, size, 3))
    chex.assert_shape(views, (context_mask.shape[0], None, 1))
    if not any(isinstance(x, jax.core.Tracer) for x in (context.views, views)):
      check_sequential(context.views, views, net.num_frames, queries=True)
    horizon = max(count + 1, horizon or net.num_frames)
    noise = self._noise(
      key, context_mask.shape[0], example_id, num_samples, first_sample
    )
    index = frame_index(views, net.num_frames)
    frames = to_unit(context.frames)
    return net.apply(
      {'params': params}, frames, noise.latent, index, horizon, method='sample'
    )

  def elbo(
    self,
    params: Params,
    key: Array,
    batch: Batch,
    pixel_variance: Array | float,
  ) -> Elbo:
    """The bound of each scene, [B] nats, from one posterior draw."""
    mean, z, q, p = self._bound(params, key, batch, EVALUATION)
    return objective.elbo(mean, batch, z, q, p, pixel_variance)

  def loss(
    self, params: Params, key: Array, batch: Batch, step: Array
  ) -> tuple[Array, dict[str, Any]]:
    """What training minimises, and metrics, whose `loss` is the bound's.

    The two differ by the KL that is not charged (yet), see `kl_weight` and
    `free_nats`.
    """
    variance = self.pixel_variance(step)
    key = jax.random.fold_in(key, step)
    stage = Stage(self.truth(step), self.informed(step) > 0.5)
    mean, z, q, p = self._bound(params, key, batch, stage)
    bound = objective.elbo(mean, batch, z, q, p, variance)
    loss, metrics = objective.loss_and_metrics(
      bound, mean, batch, q, p, variance
    )
    each = jnp.sum(gaussian.kl(q, p), axis=gaussian.EVENT_AXES)
    charged = jnp.sum(jnp.maximum(each - self.free_nats, 0), axis=1)
    uncharged = bound.kl - self.kl_weight(step) * charged
    total = jnp.maximum(jnp.sum(batch.weight), 1e-8)
    return loss - jnp.sum(batch.weight * uncharged) / total, metrics

  def reconstruct(self, params: Params, key: Array, batch: Batch) -> Array:
    """Targets rolled on from one posterior draw, [B, T, H, W, 3]."""
    return self._bound(params, key, batch, EVALUATION)[0]

  def _bound(self, params: Params, key: Array, batch: Batch, stage: Stage):
    net, scenes = self.networks, batch.weight.shape[0]
    video = jnp.concatenate(
      [to_unit(batch.context.frames), to_unit(batch.target.frames)], axis=1
    )
    size = net.frame_size
    chex.assert_shape(video, (scenes, net.num_frames, size, size, 3))
    noise = self._noise(key, scenes, batch.example_id, 1)
    noise = jax.tree.map(lambda x: x[0], noise)
    count = batch.context_mask.shape[1]
    return net.apply(
      {'params': params}, video, count, noise, stage, method='bound'
    )

  def _noise(
    self,
    key: Array,
    batch: int,
    example_id: Array | None,
    num_samples: int,
    first_sample: Array | int = 0,
  ) -> Noise:
    """Noise of S samples of B scenes, [S, B, ...]."""
    if example_id is None:
      example_id = jnp.arange(batch)
    net = self.networks

    def draw(sample: Array, example: Array) -> Noise:
      key_ = jax.random.fold_in(jax.random.fold_in(key, example), sample)
      latent = jax.random.normal(key_, net.latent_shape)
      coin = jax.random.fold_in(key_, 1)
      return Noise(latent, jax.random.uniform(coin, (net.num_frames - 1,)))

    over_examples = jax.vmap(draw, in_axes=(None, 0))
    return jax.vmap(over_examples, in_axes=(0, None))(
      first_sample + jnp.arange(num_samples), example_id
    )


def horizon_of(views: np.ndarray, num_frames: int) -> int:
  """The least `horizon` at which concrete queries can be answered."""
  return int(np.max(_indices('queries', views, num_frames))) + 1


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


def frame_index(views: Array, num_frames: int) -> Array:
  """Timestamps [..., 1] in [0, 1] -> frame numbers [...]."""
  return jnp.round(views[..., 0] * (num_frames - 1)).astype(jnp.int32)


def pick(x: Array, index: Array) -> Array:
  """x [B, n, ...] and index [B, T] -> [B, T, ...]: NaN past the end."""
  take = jax.vmap(lambda x, i: jnp.take(x, i, axis=0, mode='fill'))
  return take(x, jnp.maximum(index, 0))


def answer(context: Array, index: Array, predicted: Array) -> Array:
  """Returns context frames unchanged where a query asks for one.

  Args:
    context: [B, C, H, W, 3].
    index: [B, T] frame numbers.
    predicted: [S, B, T, H, W, 3].
  """
  last = context.shape[1] - 1
  given = pick(context, jnp.minimum(index, last))[None]
  asked = jnp.expand_dims(index <= last, (0, -1, -2, -3))
  return jnp.where(asked, given, predicted)
