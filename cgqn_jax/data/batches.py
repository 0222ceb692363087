"""Scenes become batches: context, target, masks (paper, section 4).

A batch is a pure function of (seed, step), so a resumed run needs no iterator:
it starts at its step. Contexts and targets are ragged: every scene has its own
number of frames, marked by a mask at one static shape.

config.data.protocol says what is context and what is target: 'frames' (videos:
some of the first frames, then any), 'sequence' (videos: the first frames, then
all others, in order) or 'hidden_side' (dice: see hidden_side).
"""

from collections.abc import Iterator, Sequence
import contextlib
from typing import Any

import grain
import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.data import protocols
from cgqn_jax.data.sources import Source, Video, open_source
from cgqn_jax.types import Batch, Scene


def check_protocol(config: ConfigDict) -> None:
  """ValueError unless the numbers of context and target frames fit."""
  data = config.data
  if data.protocol not in ('frames', 'sequence', 'hidden_side'):
    raise ValueError(
      f"data.protocol is {data.protocol!r}; it must be 'frames', 'sequence' or "
      "'hidden_side'"
    )
  if data.workers < 0:
    raise ValueError(
      f'data.workers is {data.workers}; it must be 0, for a thread, or the '
      'number of processes that read'
    )
  if not 1 <= data.num_targets <= data.num_frames:
    raise ValueError(
      f'data.num_targets is {data.num_targets}; it must be 1 to '
      f'{data.num_frames}, the frames of a scene'
    )
  if data.protocol == 'hidden_side':
    if config.dataset != 'dice' or data.source not in ('tfds', 'simulator'):
      raise ValueError(
        f"data.protocol is 'hidden_side', and {config.dataset} from "
        f'{data.source!r} does not say which sides a view shows; that is known '
        "of dice from 'tfds' or 'simulator': use data.protocol 'frames'"
      )
    if not 1 <= data.min_context <= data.max_context < data.num_frames:
      raise ValueError(
        f'data.min_context {data.min_context} and data.max_context '
        f'{data.max_context} must not decrease, from 1 to '
        f'{data.num_frames - 1}'
      )
    return
  last = data.num_frames - 1
  for frame in data.test_context:
    if not 0 <= frame <= last:
      raise ValueError(
        f'data.test_context has frame {frame}; the video has 0 to {last}'
      )
  if len(set(data.test_context)) != len(data.test_context):
    raise ValueError(
      f'data.test_context is {data.test_context}; it names a frame twice'
    )
  if data.protocol == 'sequence':
    first = data.max_context
    if tuple(data.test_context) != tuple(range(first)) or (
      first + data.num_targets != data.num_frames
    ):
      raise ValueError(
        f"data.protocol is 'sequence', with data.max_context {first}: "
        f'data.test_context is {tuple(data.test_context)} and must be the '
        f'frames 0 to {first - 1}; data.num_targets is {data.num_targets} and '
        f'must be {data.num_frames - first}, all others'
      )
  if len(data.test_context) > last:
    raise ValueError(
      f'data.test_context names all {data.num_frames} frames; leave some to '
      'predict'
    )
  if not 0 <= data.min_context <= min(data.max_context, data.context_window):
    raise ValueError(
      f'data.min_context is {data.min_context}; it must be 0 to '
      f'{min(data.max_context, data.context_window)}, for data.max_context is '
      f'{data.max_context} and data.context_window {data.context_window}'
    )
  for field in ('max_context', 'context_window'):
    if data[field] > data.num_frames:
      raise ValueError(
        f'data.{field} is {data[field]}; the video has {data.num_frames} frames'
      )


def training_batches(config: ConfigDict, step: int = 0) -> Iterator[Batch]:
  """The batches of updates step, step + 1, ...: this process's share.

  They are read by one thread, or by config.data.workers processes, which an
  accelerator may need; the batches are the same.
  """
  source = open_source(config, 'train')
  count = jax.process_count()
  dataset = (
    grain.MapDataset.source(source)
    .seed(config.seed)
    .shuffle()
    .repeat()
    .random_map(lambda video, rng: _pick_training(config, video, rng))
  )
  dataset = dataset[jax.process_index() :: count]
  dataset = dataset.batch(config.batch_size // count, drop_remainder=True)
  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
  elements = dataset[step:].to_iter_dataset(options)
  if config.data.workers:
    workers = grain.MultiprocessingOptions(config.data.workers, 4)
    elements = elements.mp_prefetch(workers, worker_init_fn=_start_worker)
  with contextlib.closing(iter(elements)) as elements:
    for element in elements:
      yield _to_batch(source, element)


def _start_worker(index: int, count: int) -> None:
  """The device is the trainer's; a simulator's worker counts on the CPU."""
  del index, count
  jax.config.update('jax_platforms', 'cpu')


def validation_batches(
  config: ConfigDict, split: str, num_scenes: int, batch_size: int
) -> Iterator[Batch]:
  """The first scenes of a split under the protocol of training.

  What is context and what target depends on the example alone.
  """

  def pick(video: Video) -> dict[str, Any]:
    rng = np.random.default_rng(video.example_id)
    return _pick_training(config, video, rng)

  return _first_scenes(config, split, num_scenes, batch_size, pick)


def test_batches(
  config: ConfigDict,
  split: str,
  num_scenes: int,
  batch_size: int,
  num_targets: int | None = None,
) -> Iterator[Batch]:
  """The first scenes of a split under the protocol of the tables.

  Of a video, the context is config.data.test_context; the targets are all
  other frames, in order, or `num_targets` of them, chosen by the example
  alone. Of a room, `hidden_side.for_tables` chooses both.
  """

  def of_video(video: Video) -> dict[str, Any]:
    context = np.array(config.data.test_context, int)
    targets = np.setdiff1d(np.arange(config.data.num_frames), context)
    if num_targets is not None:
      rng = np.random.default_rng(video.example_id)
      targets = np.sort(rng.permutation(targets)[:num_targets])
    return _split(video, context, targets, len(context), len(targets))

  def of_room(video: Video) -> dict[str, Any]:
    views = test_views(config, video)
    return _split(video, *views[1:], len(views.context), len(views.targets))

  pick = of_room if config.data.protocol == 'hidden_side' else of_video
  return _first_scenes(config, split, num_scenes, batch_size, pick)


def test_views(config: ConfigDict, video: Video) -> protocols.Views:
  """The tables' hidden side, context and targets of a room."""
  return protocols.for_tables(
    video.face_pixels, config.data.frame_size, video.example_id
  )


def hidden_sides(
  config: ConfigDict, split: str, indices: Sequence[int]
) -> np.ndarray:
  """The side that the tables hide in each of these rooms, [B]."""
  videos = scenes(config, split, indices)
  return np.array([test_views(config, video).side for video in videos])


def whole_scenes(
  config: ConfigDict, split: str, indices: Sequence[int]
) -> Scene:
  """All frames of the named scenes of a split: Scene [B, N, ...]."""
  source = open_source(config, split)
  videos = [source[i] for i in _checked(source, split, indices)]
  stacked = jax.tree.map(lambda *x: np.stack(x), *videos)
  frames = source.to_frames(stacked.shown, stacked.fixed)
  return Scene(np.asarray(frames), stacked.views)


def scenes(
  config: ConfigDict, split: str, indices: Sequence[int]
) -> list[Video]:
  """The named scenes of a split, as their source has them."""
  source = open_source(config, split)
  return [source[i] for i in _checked(source, split, indices)]


def _checked(source: Source, split: str, indices: Sequence[int]) -> list[int]:
  for index in indices:
    if not 0 <= index < len(source):
      raise ValueError(
        f'the {split} split has no scene {index}; it has 0 to {len(source) - 1}'
      )
  return [int(index) for index in indices]


def _first_scenes(
  config: ConfigDict, split: str, num_scenes: int, batch_size: int, pick: Any
) -> Iterator[Batch]:
  """In order; scenes of weight 0 fill up the last batch."""
  source = open_source(config, split)
  num_scenes = min(num_scenes, len(source))
  for start in range(0, num_scenes, batch_size):
    ids = np.minimum(np.arange(start, start + batch_size), num_scenes - 1)
    elements = [pick(source[int(i)]) for i in ids]
    stacked = jax.tree.map(lambda *x: np.stack(x), *elements)
    weight = np.arange(start, start + batch_size) < num_scenes
    batch = _to_batch(source, stacked)
    yield batch._replace(weight=weight.astype(np.float32))


def _pick_training(
  config: ConfigDict, video: Video, rng: np.random.Generator
) -> dict[str, Any]:
  """Context and targets as in training (section 4)."""
  data = config.data
  slots = (data.max_context, data.num_targets)
  if data.protocol == 'hidden_side':
    views = protocols.for_training(
      video.face_pixels,
      data.frame_size,
      rng,
      (data.min_context, data.max_context),
      data.num_targets,
    )
    return _split(video, views.context, views.targets, *slots)
  if data.protocol == 'sequence':
    order = np.arange(data.num_frames)
    first = data.max_context
    return _split(video, order[:first], order[first:], *slots)
  if rng.random() < data.any_context_share:
    least, window = 0, data.num_frames
  else:
    least, window = data.min_context, data.context_window
  size = int(rng.integers(least, min(data.max_context, window) + 1))
  context = rng.permutation(window)[:size]
  targets = rng.permutation(data.num_frames)[: data.num_targets]
  return _split(video, context, targets, *slots)


def _split(
  video: Video,
  context: np.ndarray,
  targets: np.ndarray,
  context_slots: int,
  target_slots: int,
) -> dict[str, Any]:
  """Gathers the frames asked for; frame 0 pads both to their slots."""

  def rows(index: np.ndarray, slots: int) -> tuple[Any, ...]:
    padded = np.zeros(max(1, slots), int)
    padded[: len(index)] = index
    shown = jax.tree.map(lambda x: x[padded], video.shown)
    mask = np.arange(len(padded)) < len(index)
    return shown, video.views[padded], mask

  return {
    'context': rows(context, context_slots),
    'target': rows(targets, target_slots),
    'fixed': video.fixed,
    'example_id': np.int32(video.example_id),
  }


def _to_batch(source: Source, element: dict[str, Any]) -> Batch:
  context, context_views, context_mask = element['context']
  target, target_views, target_mask = element['target']
  fixed, batch_size = element['fixed'], len(target_views)
  return Batch(
    context=Scene(source.to_frames(context, fixed), context_views),
    context_mask=context_mask,
    target=Scene(source.to_frames(target, fixed), target_views),
    target_mask=target_mask,
    weight=np.ones(batch_size, np.float32),
    example_id=element['example_id'],
  )
