"""Scenes become batches: context, target, masks (paper, section 4).

A batch is a pure function of (seed, step), so a resumed run needs no iterator:
it starts at its step. Contexts and targets are ragged: every scene has its own
number of frames, marked by a mask at one static shape. Which frames are context
and which are targets: `protocols`.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
from typing import Any

import grain
import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.data import protocols
from cgqn_jax.data.examples import Example, Source
from cgqn_jax.data.protocols import Views
from cgqn_jax.types import Batch, Scene


def training_batches(
  config: ConfigDict, source: Source, step: int = 0
) -> Iterator[Batch]:
  """The batches of updates step, step + 1, ...: this process's share.

  They are read by one thread, or by config.data.workers processes, which an
  accelerator may need; the batches are the same.

  Args:
    config: of the run.
    source: of its training split.
    step: updates that are already applied.
  """
  count = jax.process_count()
  dataset = (
    grain.MapDataset.source(source)
    .seed(config.seed)
    .shuffle()
    .repeat()
    .random_map(lambda example, rng: _pick_training(config, example, rng))
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
  config: ConfigDict, source: Source, num_scenes: int, batch_size: int
) -> Iterator[Batch]:
  """The first scenes of a split under the protocol of training.

  What is context and what target depends on the example alone.
  """

  def pick(example: Example) -> dict[str, Any]:
    rng = np.random.default_rng(example.example_id)
    return _pick_training(config, example, rng)

  return _first_scenes(source, num_scenes, batch_size, pick)


def test_batches(
  config: ConfigDict,
  source: Source,
  num_scenes: int,
  batch_size: int,
  num_targets: int | None = None,
) -> Iterator[Batch]:
  """The first scenes of a split under the protocol of the tables.

  Args:
    config: its data.protocol chooses context and targets.
    source: of the split.
    num_scenes: at most; the last batch is filled up by scenes of weight 0.
    batch_size: scenes at once.
    num_targets: of the targets, chosen by the example alone; None for all.
  """
  protocol = protocols.for_config(config)

  def pick(example: Example) -> dict[str, Any]:
    views = protocol.for_tables(config, example)
    # As many slots in every scene, whatever frames a shorter one lacks.
    lacking = config.data.num_frames - len(example.views)
    slots = len(views.targets) + lacking
    if num_targets is not None:
      rng = np.random.default_rng(example.example_id)
      some = np.sort(rng.permutation(views.targets)[:num_targets])
      views, slots = views._replace(targets=some), min(num_targets, slots)
    return _split(example, views, len(views.context), slots)

  return _first_scenes(source, num_scenes, batch_size, pick)


def make_batch(
  source: Source, examples: Sequence[Example], views: Sequence[Views]
) -> Batch:
  """These scenes with these context and target frames.

  Args:
    source: of the scenes.
    examples: B scenes of it.
    views: B of them; padded to the longest.

  Raises:
    ValueError: for a frame that a scene has not.
  """
  for example, chosen in zip(examples, views, strict=True):
    count = len(example.views)
    for frame in (*chosen.context, *chosen.targets):
      if not 0 <= frame < count:
        raise ValueError(
          f'scene {example.example_id} of the {source.split} split has no '
          f'frame {frame}; it has 0 to {count - 1}'
        )
  slots = [max(len(chosen[part]) for chosen in views) for part in (0, 1)]
  elements = [
    _split(example, chosen, *slots)
    for example, chosen in zip(examples, views, strict=True)
  ]
  return _to_batch(source, jax.tree.map(lambda *x: np.stack(x), *elements))


def whole_scenes(source: Source, indices: Sequence[int]) -> Scene:
  """All frames of the named scenes of a split: Scene [B, N, ...].

  Raises:
    ValueError: for scenes of unequal lengths.
  """
  found = scenes(source, indices)
  lengths = [len(example.views) for example in found]
  if len(set(lengths)) > 1:
    raise ValueError(
      f'scenes {list(indices)} have {lengths} frames; name some that are '
      'equally long'
    )
  stacked = jax.tree.map(lambda *x: np.stack(x), *found)
  frames = source.to_frames(stacked.shown, stacked.fixed)
  return Scene(np.asarray(frames), stacked.views)


def scenes(source: Source, indices: Sequence[int]) -> list[Example]:
  """The named scenes of a split; ValueError for one that there is not."""
  for index in indices:
    if not 0 <= index < len(source):
      raise ValueError(
        f'the {source.split} split has no scene {index}; it has 0 to '
        f'{len(source) - 1}'
      )
  return [source[int(index)] for index in indices]


def _first_scenes(
  source: Source,
  num_scenes: int,
  batch_size: int,
  pick: Callable[[Example], dict[str, Any]],
) -> Iterator[Batch]:
  """In order; scenes of weight 0 fill up the last batch."""
  num_scenes = min(num_scenes, len(source))
  for start in range(0, num_scenes, batch_size):
    ids = np.minimum(np.arange(start, start + batch_size), num_scenes - 1)
    elements = [pick(source[int(i)]) for i in ids]
    stacked = jax.tree.map(lambda *x: np.stack(x), *elements)
    weight = np.arange(start, start + batch_size) < num_scenes
    batch = _to_batch(source, stacked)
    yield batch._replace(weight=weight.astype(np.float32))


def _pick_training(
  config: ConfigDict, example: Example, rng: np.random.Generator
) -> dict[str, Any]:
  views = protocols.for_config(config).for_training(config, example, rng)
  slots = config.data.max_context, config.data.num_targets
  # Training does not need the side, and all its batches look alike.
  return _split(example, views._replace(hidden_side=None), *slots)


def _split(
  example: Example, views: Views, context_slots: int, target_slots: int
) -> dict[str, Any]:
  """Gathers the frames asked for; frame 0 pads both to their slots."""

  def rows(index: np.ndarray, slots: int) -> tuple[Any, ...]:
    padded = np.zeros(max(1, slots), int)
    padded[: len(index)] = index
    shown = jax.tree.map(lambda x: x[padded], example.shown)
    mask = np.arange(len(padded)) < len(index)
    return shown, example.views[padded], mask

  side = views.hidden_side
  return {
    'context': rows(views.context, context_slots),
    'target': rows(views.targets, target_slots),
    'fixed': example.fixed,
    'example_id': np.int32(example.example_id),
    'hidden_side': None if side is None else np.int32(side),
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
    hidden_side=element['hidden_side'],
  )
