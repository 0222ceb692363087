"""Videos become batches: context, target, masks (paper, section 4.1).

A batch is a pure function of (seed, step), so a resumed run needs no iterator:
it starts at its step. Contexts are ragged: every scene has its own number of
frames, marked by a mask at one static shape.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import grain
import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.sources import Source, Video, open_source
from cgqn_jax.types import Batch, Scene


def check_protocol(config: ConfigDict) -> None:
  """ValueError unless the numbers of context and target frames fit."""
  data = config.data
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
  if len(data.test_context) > last:
    raise ValueError(
      f'data.test_context names all {data.num_frames} frames; leave some to '
      'predict'
    )
  if not 0 <= data.min_context <= data.max_context <= data.context_window:
    raise ValueError(
      f'data.min_context {data.min_context}, data.max_context '
      f'{data.max_context} and data.context_window {data.context_window} must '
      'not decrease, from 0 on'
    )
  if data.context_window > data.num_frames:
    raise ValueError(
      f'data.context_window is {data.context_window}; the video has '
      f'{data.num_frames} frames'
    )
  if not 1 <= data.num_targets <= data.num_frames:
    raise ValueError(
      f'data.num_targets is {data.num_targets}; it must be 1 to '
      f'{data.num_frames}, the frames of a video'
    )


def training_batches(config: ConfigDict, step: int = 0) -> Iterator[Batch]:
  """The batches of updates step, step + 1, ...: this process's share."""
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
  for element in dataset[step:].to_iter_dataset(options):
    yield _to_batch(source, element)


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

  The context is config.data.test_context; the targets are all other frames,
  in order, or `num_targets` of them, chosen by the example alone.
  """
  context = np.array(config.data.test_context, int)
  hidden = np.setdiff1d(np.arange(config.data.num_frames), context)

  def pick(video: Video) -> dict[str, Any]:
    targets = hidden
    if num_targets is not None:
      rng = np.random.default_rng(video.example_id)
      targets = np.sort(rng.permutation(hidden)[:num_targets])
    return _split(video, context, targets, max(1, len(context)))

  return _first_scenes(config, split, num_scenes, batch_size, pick)


def whole_scenes(
  config: ConfigDict, split: str, indices: Sequence[int]
) -> Scene:
  """All frames of the named scenes of a split: Scene [B, N, ...]."""
  source = open_source(config, split)
  for index in indices:
    if not 0 <= index < len(source):
      raise ValueError(
        f'the {split} split has no scene {index}; it has 0 to {len(source) - 1}'
      )
  videos = [source[int(index)] for index in indices]
  shown, fixed, views, _ = jax.tree.map(lambda *x: np.stack(x), *videos)
  return Scene(np.asarray(source.to_frames(shown, fixed)), views)


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
  """Context and targets as in training (section 4.1)."""
  data = config.data
  if rng.random() < data.any_context_share:
    least, window = 0, data.num_frames
  else:
    least, window = data.min_context, data.context_window
  size = int(rng.integers(least, data.max_context + 1))
  context = rng.permutation(window)[:size]
  targets = rng.permutation(data.num_frames)[: data.num_targets]
  return _split(video, context, targets, data.max_context)


def _split(
  video: Video, context: np.ndarray, targets: np.ndarray, slots: int
) -> dict[str, Any]:
  """Gathers the frames asked for; frame 0 pads the context's slots."""
  padded = np.zeros(slots, int)
  padded[: len(context)] = context

  def rows(index: np.ndarray) -> tuple[Any, np.ndarray]:
    return jax.tree.map(lambda x: x[index], video.shown), video.views[index]

  return {
    'context': rows(padded),
    'context_mask': np.arange(slots) < len(context),
    'target': rows(targets),
    'fixed': video.fixed,
    'example_id': np.int32(video.example_id),
  }


def _to_batch(source: Source, element: dict[str, Any]) -> Batch:
  context, context_views = element['context']
  target, target_views = element['target']
  fixed, batch_size = element['fixed'], len(target_views)
  return Batch(
    context=Scene(source.to_frames(context, fixed), context_views),
    context_mask=element['context_mask'],
    target=Scene(source.to_frames(target, fixed), target_views),
    target_mask=np.ones(target_views.shape[:2], bool),
    weight=np.ones(batch_size, np.float32),
    example_id=element['example_id'],
  )
