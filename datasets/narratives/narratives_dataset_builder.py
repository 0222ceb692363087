"""The narratives: videos of 2D shapes acting out stories (section 4.1).

Built with `python datasets/build.py narratives --config=traveling_salesman`,
or, where TensorFlow is installed, with
`tfds build datasets/narratives --config=traveling_salesman
--file_format=array_record`.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

import numpy as np
import shards

from cgqn_jax import images
from cgqn_jax.simulators import narratives

_SPLITS = {'train': 98_000, 'validation': 1_000, 'test': 1_000}
_TINY_SPLITS = {'train': 256, 'validation': 32, 'test': 32}
# Of a story; the rest (radii, order of drawing) is made again from the id.
_FIELDS = ('positions', 'kind', 'size', 'color', 'events')

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
class NarrativesConfig(shards.Config):
  """One narrative at one frame size."""

  narrative: str = ''


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


class Builder(shards.ShardedBuilder):
  """Narratives as a TFDS dataset."""

  BUILDER_CONFIGS = _configs()
  CHUNK = 50

  def fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
    """The video, and what happens in it."""
    config = self.builder_config
    story = narratives.sample(config.narrative, 'train', 0)
    frame = (config.frame_size, config.frame_size, 3)
    fields = {'frames': ((len(story.positions), *frame), np.uint8)}
    for name in _FIELDS:
      field = getattr(story, name)
      fields[name] = field.shape, field.dtype
    return fields

  def make(self, split: str, ids: Sequence[int]) -> dict[str, np.ndarray]:
    """Samples and renders these examples."""
    config = self.builder_config
    stories = narratives.sample_batch(config.narrative, split, ids)
    frames = narratives.render_batch(stories, config.frame_size)
    arrays = {name: getattr(stories, name) for name in _FIELDS}
    return arrays | {'frames': np.asarray(frames)}

  def preview(self, path: os.PathLike[str]) -> None:
    """Draws eight training videos, a row each, every other frame."""
    frames = self.make('train', range(8))['frames']
    scenes = [f'scene {i}' for i in range(len(frames))]
    times = [f'F{i + 1}' for i in range(0, frames.shape[1], 2)]
    images.save_png(path, images.sheet(frames[:, ::2], scenes, times))
