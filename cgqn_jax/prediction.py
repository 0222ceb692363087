"""Trained models for users: NumPy arrays in, NumPy arrays out, all checked.

predictor = cgqn_jax.predictor('color_reaction')
futures = predictor.sample(frames, [0, 3], range(12), num_samples=8)

Below it are the pure functions of `cgqn_jax.load`'s model, which take keys,
masks and batches, and which can be traced and differentiated.
"""

import math
import pathlib
from typing import Any
import warnings

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.data import examples
from cgqn_jax.data.examples import CAMERA, POSE
from cgqn_jax.evaluation import metrics, sampling
from cgqn_jax.models.build import Model, pixel_variance
from cgqn_jax.models.sequential import Sequential, check_sequential
from cgqn_jax.training.checkpoints import Step
from cgqn_jax.training.workdir import load
from cgqn_jax.types import Batch, Params, Scene

_AT_ONCE = 16  # samples drawn together; more would only take memory
_TURN = 2 * math.pi + 1e-6
_ROUNDING = 1e-3  # by which floats may lie beyond [0, 1]


def predictor(workdir: str | pathlib.Path, step: Step = 'best') -> 'Predictor':
  """A trained model with everything that it needs to predict.

  Args:
    workdir: the name of shipped weights, 'color_reaction',
      'traveling_salesman' or 'dice', or the folder of a training.
    step: of the checkpoint: a number, 'latest', or 'best' by validation loss.

  Raises:
    ValueError: in one line, where there is no such training or checkpoint.
  """
  return Predictor(*load(workdir, step), name=str(workdir))


class Predictor:
  """Predicts frames of scenes from other frames of them.

  What all methods take:

  * Frames: one scene, [C, H, W, 3], or a batch, [B, C, H, W, 3]; uint8, 0 to
    255, or floats from 0, black, to 1, white. H and W are `frame_size`. What
    is given back has the same B, or none. An empty list is an empty context,
    of one scene; of B scenes it is an array [B, 0, H, W, 3].
  * Times of videos: whole numbers are frame numbers, 0 to `num_frames` - 1;
    floats are times, from 0, the first frame, to 1, the last: so [0, 1] is the
    first frame and the second, [0.0, 1.0] the first and the last. [C], one for
    each frame, or [B, C], where the scenes of a batch differ.
  * Times of rooms: the cameras in their place, [C, 5], which is x, y, z, yaw,
    pitch with angles in radians, or [C, 7], as `Scene.views` has them; or
    [B, C, ...].
  * seed: all that is random follows from it and from a scene's place in the
    batch.

  CGQN and GQN take any frames as context, in any order. sSSM, SV2P and CDNA
  read the first frames of a video in order, and refuse all others.

  The first call with other shapes compiles, in seconds; others do not. All
  raise ValueError, in one line, for what they cannot take, and warn of a
  context larger or smaller than training had.

  Attributes:
    model, params, config: what `cgqn_jax.load` gives.
    frame_size: H = W.
    num_frames: of the scenes that it was trained on.
    pixel_variance: sigma^2 of the likelihood at the end of training.
  """

  def __init__(
    self, model: Model, params: Params, config: ConfigDict, name: str = ''
  ):
    """Takes what `cgqn_jax.load` gives; `name` is what it is called."""
    self.model, self.params, self.config = model, params, config
    self.frame_size = config.data.frame_size
    self.num_frames = config.data.num_frames
    self.pixel_variance = float(pixel_variance(config)(config.num_steps))
    self._name = name or config.model.name
    self._reconstruct = jax.jit(model.reconstruct)

  def __repr__(self) -> str:
    size, kind = self.frame_size, 'frames' if self._is_video else 'views'
    return (
      f'<Predictor {self._name}: {self.config.model.name}, {size}x{size}, '
      f'{self.num_frames} {kind} a scene, contexts of {self._least} to '
      f'{self.config.data.max_context}>'
    )

  def sample(
    self,
    frames: Any,
    times: Any,
    query_times: Any,
    num_samples: int = 4,
    seed: int = 0,
  ) -> np.ndarray:
    """Draws frames at any times, given some; each sample is one story.

    Args:
      frames: context, [C, H, W, 3] or [B, C, H, W, 3].
      times: of the context, C.
      query_times: of the frames to draw, T; the context's may be among them.
      num_samples: S. Sample s is the same however many are drawn, but for
        rounding.
      seed: a whole number.

    Returns:
      [S, T, H, W, 3] or [S, B, T, H, W, 3] float32 in [0, 1]: mean frames,
      without the pixel noise of the likelihood.
    """
    count = _whole('num_samples', num_samples, 1)
    batch, is_one = self._batch(frames, times, None, query_times, known=False)
    samples = sampling.draw_all(
      self.model, self.params, _key(seed), batch, count, chunk=_AT_ONCE
    )
    return samples[:, 0] if is_one else samples

  def reconstruct(
    self,
    frames: Any,
    times: Any,
    query_frames: Any,
    query_times: Any,
    seed: int = 0,
  ) -> np.ndarray:
    """Renders frames from a latent that has seen them: what z can hold.

    z is one draw of the posterior, which sees the context and the queries. The
    difference to the truth is what renderer and latent lose; where samples are
    worse than this, it is the prior that falls short.

    Args:
      frames: context, [C, H, W, 3] or [B, C, H, W, 3].
      times: of the context, C.
      query_frames: to reconstruct, [T, H, W, 3] or [B, T, H, W, 3].
      query_times: of these, T.
      seed: a whole number.

    Returns:
      [T, H, W, 3] or [B, T, H, W, 3] float32 in [0, 1].
    """
    batch, is_one = self._batch(frames, times, query_frames, query_times)
    drawn = self._reconstruct(self.params, _key(seed), batch)
    drawn = np.clip(np.asarray(drawn), 0, 1)
    return drawn[0] if is_one else drawn

  def log_likelihood(
    self,
    frames: Any,
    times: Any,
    query_frames: Any,
    query_times: Any,
    num_draws: int = 16,
    seed: int = 0,
    *,
    pixel_variance: float | None = None,
    joint: bool = False,
  ) -> np.ndarray:
    """How well the model expected each frame, in nats.

    The importance-weighted lower bound of log p(f | v, C), where f is a query
    frame, v its time and C the context:

      log mean_k [ N(f; g(z_k, v), sigma^2) p(z_k | C) / q(z_k | C, f) ],

    with K draws z_k of the posterior q, g the renderer, and N the density of
    all pixel values, which are in [0, 1], with its constant. Its expectation is
    never above log p, and rises to it with K. Densities can be greater than 1,
    so log-likelihoods can be positive; differences tell more than levels. All
    frames of a scene have the same noise, so a frame's number does not depend
    on which others are asked for.

    Args:
      frames: context, [C, H, W, 3] or [B, C, H, W, 3].
      times: of the context, C.
      query_frames: to be judged, [T, H, W, 3] or [B, T, H, W, 3].
      query_times: of these, T.
      num_draws: K.
      seed: a whole number.
      pixel_variance: sigma^2; by default the predictor's.
      joint: the bound of log p(f_1, ..., f_T | v_1, ..., v_T, C), all frames
        as one story. It is more than the sum over single frames where one
        frame tells of the others. sSSM, SV2P and CDNA have it alone, of all
        frames after the context.

    Returns:
      [T] or [B, T]; with `joint` a number, [], or [B].
    """
    if isinstance(self.model, Sequential) and not joint:
      raise ValueError(
        f'{self.config.model.name} has no log-likelihood of single frames: it '
        'predicts them one after the other; ask for joint=True, or use cgqn '
        'or gqn'
      )
    count = _whole('num_draws', num_draws, 1)
    batch, is_one = self._batch(frames, times, query_frames, query_times)
    variance = self.pixel_variance if pixel_variance is None else pixel_variance
    is_number = isinstance(variance, int | float | np.number)
    if not is_number or not 0 < variance < math.inf:
      raise ValueError(
        f'pixel_variance is {variance!r}; it must be a number above 0'
      )
    shape = batch.target_mask.shape
    if joint:
      shape = shape[:1]
    else:
      batch = _frame_by_frame(batch)
    bounds = metrics.bounds(
      self.model,
      self.params,
      _key(seed),
      batch,
      np.float32(variance),
      count,
    )
    found = bounds.importance_weighted.reshape(shape)
    return found[0] if is_one else found

  @property
  def _is_video(self) -> bool:
    return self.config.data.view_size == 1

  @property
  def _least(self) -> int:
    """Frames of the smallest context of training."""
    data = self.config.data
    return 0 if data.get('any_context_share') else data.min_context

  def _batch(
    self,
    frames: Any,
    times: Any,
    query_frames: Any,
    query_times: Any,
    *,
    known: bool = True,
  ) -> tuple[Batch, bool]:
    """The batch of what a user gave, and whether it was one scene.

    known: whether there are query frames.
    """
    frames = _frames('frames', frames, self.frame_size)
    is_one = frames.ndim == 4
    scenes = None if is_one else len(frames)
    views = self._views('times', times, scenes, frames.shape[-4])
    if not known:
      queries = self._views('query_times', query_times, scenes)
      shape = (*queries.shape[:-1], *frames.shape[-3:])
      query_frames = np.zeros(shape, np.float32)
    else:
      query_frames = _frames('query_frames', query_frames, self.frame_size)
      if query_frames.shape[:-4] != frames.shape[:-4]:
        raise ValueError(
          f'query_frames are {list(query_frames.shape)} and frames '
          f'{list(frames.shape)}; both must be one scene, or as many'
        )
      queries = self._views(
        'query_times', query_times, scenes, query_frames.shape[-4]
      )
    if not queries.shape[-2]:
      raise ValueError('query_times is empty; ask for one frame at least')
    if is_one:
      frames, views = frames[None], views[None]
      query_frames, queries = query_frames[None], queries[None]
    if isinstance(self.model, Sequential):
      check_sequential(views, queries, self.num_frames, queries=not known)
    self._note_size(frames.shape[1])
    count, slots = frames.shape[:2]
    if not slots:  # the networks want one, if only to pass it over
      frames = np.zeros((count, 1, *frames.shape[2:]), np.float32)
      views = np.zeros((count, 1, views.shape[-1]), np.float32)
    batch = Batch(
      context=Scene(frames, views),
      context_mask=np.full(frames.shape[:2], slots > 0),
      target=Scene(query_frames, queries),
      target_mask=np.ones(queries.shape[:2], bool),
      weight=np.ones(count, np.float32),
      example_id=np.arange(count, dtype=np.int32),
    )
    return batch, is_one

  def _views(
    self, name: str, given: Any, scenes: int | None, count: int | None = None
  ) -> np.ndarray:
    """Views [N, V], or [B, N, V] of B scenes, from times or cameras.

    Args:
      name: of the argument.
      given: by the user.
      scenes: B; None for one scene alone.
      count: N, which must be met; None for any.
    """
    array = _numbers(name, given)
    width = self.config.data.view_size
    if array.shape == (0,) and not self._is_video:  # an empty list
      array = array.reshape((0, width))
    axes = 1 if self._is_video else 2  # of one scene
    lead = array.shape[:-axes] if array.ndim >= axes else None
    if lead != () and (scenes is None or lead != (scenes,)):
      each = '' if self._is_video else f', {self._widths}'
      batch = '' if scenes is None else f' or [{scenes}, N{each}]'
      raise ValueError(
        f'{name} is {list(array.shape)}; it must be [N{each}]{batch}, one for '
        'each frame'
      )
    views = (self._times if self._is_video else self._cameras)(name, array)
    if count is not None and views.shape[-2] != count:
      raise ValueError(
        f'{name} has {views.shape[-2]} and {name.replace("times", "frames")} '
        f'{count}; there must be one for each frame'
      )
    if scenes is not None:
      views = np.broadcast_to(views, (scenes, *views.shape[-2:]))
    return np.ascontiguousarray(views)

  def _times(self, name: str, array: np.ndarray) -> np.ndarray:
    """Timestamps [..., 1] from frame numbers or times [...]."""
    last = self.num_frames - 1
    if jnp.issubdtype(array.dtype, jnp.integer):
      if wrong := array[(array < 0) | (array > last)].tolist():
        raise ValueError(
          f'{name} has frame {wrong[0]}; whole numbers are frame numbers, 0 to '
          f'{last}'
        )
      return examples.timestamps(self.num_frames)[array]
    if wrong := array[~((array >= 0) & (array <= 1 + 1e-6))].tolist():
      raise ValueError(
        f'{name} has time {wrong[0]:g}; floats are times, from 0, the first '
        f'frame, to 1, the last; give frame numbers, 0 to {last}, as integers'
      )
    return array.astype(np.float32)[..., None]

  def _cameras(self, name: str, array: np.ndarray) -> np.ndarray:
    """Views [..., V] from cameras, or from other views of V numbers."""
    width, given = self.config.data.view_size, array.shape[-1]
    if given != width and (width, given) != (CAMERA, POSE):
      raise ValueError(
        f'{name} has {given} numbers a frame; it must have {self._widths}'
      )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
      raise ValueError(f'{name} has a number that is not finite')
    if width != CAMERA:
      return array.astype(np.float32)
    if given == POSE:
      if wrong := array[..., 3:][np.abs(array[..., 3:]) > _TURN].tolist():
        raise ValueError(
          f'{name} has the angle {wrong[0]:g}; yaw and pitch must be radians, '
          '-2 pi to 2 pi: np.radians(degrees)'
        )
      rows = examples.cameras(array.reshape((-1, POSE)))
      return rows.reshape((*array.shape[:-1], CAMERA)).astype(np.float32)
    for place, angle in ((3, 'yaw'), (5, 'pitch')):
      length = np.hypot(array[..., place], array[..., place + 1])
      if wrong := length[np.abs(length - 1) > 0.01].tolist():
        raise ValueError(
          f'{name} has a camera whose sin and cos of {angle} are no sin and '
          f'cos: their squares add to {wrong[0] ** 2:.3g}, not 1; the numbers '
          'are x, y, z, sin yaw, cos yaw, sin pitch, cos pitch'
        )
    return array.astype(np.float32)

  @property
  def _widths(self) -> str:
    width = self.config.data.view_size
    return f'{POSE} or {CAMERA}' if width == CAMERA else str(width)

  def _note_size(self, size: int) -> None:
    """Warns of a context of a size that training never had."""
    most = self.config.data.max_context
    if not self._least <= size <= most:
      warnings.warn(
        f'the model was trained on contexts of {self._least} to {most} frames; '
        f'this one has {size}, so it may be worse',
        stacklevel=4,
      )


def _frame_by_frame(batch: Batch) -> Batch:
  """Each target [B, T] as a scene of its own, [B T, 1], of the same noise."""
  scenes, count = batch.target_mask.shape

  def repeated(x: np.ndarray) -> np.ndarray:
    return np.repeat(x, count, axis=0)

  def single(x: np.ndarray) -> np.ndarray:
    return x.reshape((scenes * count, 1, *x.shape[2:]))

  return jax.tree.map(repeated, batch)._replace(
    target=jax.tree.map(single, batch.target),
    target_mask=single(batch.target_mask),
  )


def _numbers(name: str, given: Any) -> np.ndarray:
  """An array of integers or floats; ValueError where it is none."""
  try:
    array = np.asarray(given)
  except ValueError as error:
    raise ValueError(
      f'{name} cannot be made an array: {" ".join(str(error).split())}'
    ) from error
  if array.dtype == bool or not jnp.issubdtype(array.dtype, jnp.number):
    raise ValueError(
      f'{name} is a {type(given).__name__} of {array.dtype}; it must be an '
      'array of integers or floats'
    )
  if jnp.issubdtype(array.dtype, jnp.complexfloating):
    raise ValueError(f'{name} is complex; it must be real')
  return array


def _frames(name: str, given: Any, size: int) -> np.ndarray:
  """Frames [N, H, W, 3] or [B, N, H, W, 3] as float32 in [0, 1]."""
  array = _numbers(name, given)
  if array.shape == (0,):  # an empty list
    return np.zeros((0, size, size, 3), np.float32)
  if array.ndim not in (4, 5) or array.shape[-3:] != (size, size, 3):
    raise ValueError(
      f'{name} are {list(array.shape)}; they must be [N, {size}, {size}, 3] of '
      f'one scene, or [B, N, {size}, {size}, 3] of B'
      f'{_remedy(array.shape, size)}'
    )
  if array.dtype == np.uint8:
    return array.astype(np.float32) / 255
  if not jnp.issubdtype(array.dtype, jnp.floating):
    raise ValueError(
      f'{name} are {array.dtype}; they must be uint8, 0 to 255, or floats, 0 '
      'to 1'
    )
  array = array.astype(np.float32)
  low, high = (array.min(), array.max()) if array.size else (0, 1)
  # Not the other way round: NaN is on no side of anything.
  if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
    raise ValueError(
      f'{name} are floats from {low:g} to {high:g}; they must be from 0, '
      'black, to 1, white: divide by what is white, or give uint8, 0 to 255'
    )
  return np.clip(array, 0, 1)


def _remedy(shape: tuple[int, ...], size: int) -> str:
  """What to do with frames of another shape, where that is clear."""
  if shape == (size, size, 3):
    return '; this is a single frame: frames[None]'
  if len(shape) not in (4, 5):
    return ''
  if shape[-3] == 3 and shape[-1] != 3:
    return '; channels come last: np.moveaxis(frames, -3, -1)'
  if shape[-1] == 4:
    return '; leave the alpha channel away: frames[..., :3]'
  if shape[-1] == 1:
    return '; grey is three equal channels: np.repeat(frames, 3, -1)'
  if shape[-1] == 3:
    return f'; resize them to {size}x{size}'
  return ''


def _key(seed: int) -> jax.Array:
  """The key of a seed."""
  return jax.random.key(_whole('seed', seed, 0))


def _whole(name: str, number: int, least: int) -> int:
  """The number; ValueError unless it is whole and at least `least`."""
  whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
  if not whole or not least <= number < 2**31:
    # An array would take many lines.
    known = isinstance(number, int | float | str | np.number)
    given = repr(number) if known else f'a {type(number).__name__}'
    raise ValueError(
      f'{name} is {given}; it must be a whole number, {least} to {2**31 - 1}'
    )
  return int(number)
