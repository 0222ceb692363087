"""The narratives: videos of 2D shapes acting out stories (section 4.1).

Built with `python datasets/build.py narratives --config=traveling_salesman`,
or, where TensorFlow is installed, with
`tfds build datasets/narratives --config=traveling_salesman
--file_format=array_record`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import os
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cgqn_jax import images
from cgqn_jax.simulators import narratives

_SPLITS = {'train': 98_000, 'validation': 1_000, 'test': 1_000}
_TINY_SPLITS = {'train': 256, 'validation': 32, 'test': 32}
_SHARD = 500  # examples; TFDS holds a shard in memory while it writes it
# Of a story; the rest (radii, order of drawing) is made again from the id.
_FIELDS = ('positions', 'kind', 'size', 'color', 'events')
_CHUNK = 50  # examples rendered in one call

# Measured at 64x64, then at 32x32: bytes on disk per example, and examples per
# second on one core of a busy server.
_COSTS = {
  'traveling_salesman': ((4460, 470), (2620, 1040)),
  'color_reaction': ((1570, 840), (1050, 1550)),
  'dag_chase': ((7930, 520), (4520, 870)),
  'color_relay': ((4330, 520), (2620, 1110)),
  'shell_shuffle': ((4260, 530), (2620, 1110)),
  'plinko': ((3800, 410), (2360, 980)),
  'greedy_salesman': ((4520, 650), (2620, 1200)),
}
_COST = ((5000, 500), (3000, 1000))  # a guess, of a narrative that is not there


@dataclasses.dataclass
class NarrativesConfig(tfds.core.BuilderConfig):
  """One narrative at one frame size."""

  narrative: str = ''
  frame_size: int = 64
  num_examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
  bytes_per_example: int = 0
  examples_per_second: float = 0.0


def _configs() -> list[NarrativesConfig]:
  configs = []
  for name in narratives.NARRATIVES:
    for frame_size, suffix, (size, rate) in zip(
      (64, 32), ('', '_32'), _COSTS.get(name, _COST), strict=True
    ):
      for tiny, num_examples in (('', _SPLITS), ('_tiny', _TINY_SPLITS)):
        configs.append(
          NarrativesConfig(
            name=f'{name}{suffix}{tiny}',
            description=f'{name}, {frame_size}x{frame_size} pixels',
            narrative=name,
            frame_size=frame_size,
            num_examples=num_examples,
            bytes_per_example=size,
            examples_per_second=rate,
          )
        )
  return configs


class Builder(tfds.core.ShardBasedBuilder):
  """Narratives as a TFDS dataset, readable without TensorFlow."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  BUILDER_CONFIGS = _configs()

  def __init__(self, *, file_format: str | None = None, **kwargs: Any):
    # TFDS's own default can be read neither without TensorFlow nor at random.
    super().__init__(file_format=file_format or 'array_record', **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    story = narratives.sample(config.narrative, 'train', 0)
    frame = (config.frame_size, config.frame_size, 3)

    def tensor(shape: tuple[int, ...], dtype: Any) -> tfds.features.Tensor:
      # As bytes: written and read many times faster than TFDS's default.
      return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')

    features = {'frames': tensor((len(story.positions), *frame), np.uint8)}
    for name in _FIELDS:
      field = getattr(story, name)
      features[name] = tensor(field.shape, field.dtype)
    features['example_id'] = tfds.features.Scalar(np.int64)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
    )

  def shards(self) -> dict[str, list[range]]:
    """The example ids in every shard of every split."""
    return {
      split: [
        range(first, min(first + _SHARD, count))
        for first in range(0, count, _SHARD)
      ]
      for split, count in self.builder_config.num_examples.items()
    }

  def examples(
    self, split: str, ids: Sequence[int]
  ) -> Iterator[dict[str, np.ndarray]]:
    """The examples with the given ids, in order."""
    config = self.builder_config
    for first in range(0, len(ids), _CHUNK):
      chunk = ids[first : first + _CHUNK]
      # Filled up, so that the renderer is compiled for one shape only.
      filled = [*chunk, *[chunk[-1]] * (_CHUNK - len(chunk))]
      stories = narratives.sample_batch(config.narrative, split, filled)
      frames = np.asarray(narratives.render_batch(stories, config.frame_size))
      for i in range(len(chunk)):
        example = {name: getattr(stories, name)[i] for name in _FIELDS}
        example['frames'] = frames[i]
        example['example_id'] = stories.example_id[i]
        yield example

  def preview(self, path: os.PathLike[str]) -> None:
    """Draws eight training videos, a row each, every other frame."""
    config = self.builder_config
    stories = narratives.sample_batch(config.narrative, 'train', range(8))
    frames = narratives.render_batch(stories, config.frame_size)
    images.save_png(path, images.sheet(np.asarray(frames)[:, ::2]))

  def _shard_iterators_per_split(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, list[Callable[[], Iterator[tuple[int, Any]]]]]:
    del dl_manager  # nothing is downloaded
    return {
      split: [functools.partial(self._with_keys, split, ids) for ids in shards]
      for split, shards in self.shards().items()
    }

  def _with_keys(
    self, split: str, ids: Sequence[int]
  ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    return zip(ids, self.examples(split, ids), strict=True)
