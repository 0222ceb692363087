"""The dice: cubes with a digit on each face, in a room (section 4.2).

Built with `python datasets/build.py dice --config=default`, or, where
TensorFlow is installed, with `tfds build datasets/dice --config=default
--file_format=array_record`.
"""

from collections.abc import Sequence
import dataclasses
import gzip
import os
from typing import Any, NamedTuple

import numpy as np
import shards
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import download_manager

from cgqn_jax import images
from cgqn_jax.simulators import dice

_URL = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
_FILES = ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz')

_SPLITS = {'train': 98_000, 'validation': 1_000, 'test': 1_000}
_SMALL_SPLITS = {'train': 20_000, 'validation': 1_000, 'test': 1_000}
_TINY_SPLITS = {'train': 64, 'validation': 16, 'test': 16}
# Of a room, as they are; the maps of the textures are made again from the id.
_FIELDS = ('cameras', 'cube', 'light', 'colors', 'texture')


@dataclasses.dataclass
class DiceConfig(shards.Config):
  """Dice at one frame size, of one style."""

  supersampling: int = 4
  style: dice.Style | None = None  # None: with all digits of MNIST's training


def _configs() -> list[DiceConfig]:
  configs = []
  for name, size, samples, splits, num_bytes, rate in (
    ('default', 64, 4, _SPLITS, 132_000, 22.0),
    ('default_32', 32, 2, _SMALL_SPLITS, 41_300, 170.0),
    ('calm', 64, 4, _SPLITS, 84_000, 22.0),
    ('calm_32', 32, 2, _SMALL_SPLITS, 30_100, 170.0),
    ('s2', 64, 2, _SPLITS, 120_000, 65.0),
    ('mnist_train', 64, 4, _SPLITS, 132_000, 22.0),
  ):
    style = dice.STYLES.get(name.removesuffix('_32'))
    looks = '' if style is None or not style.plain else ', plain surfaces'
    digits = f'{len(style.digits)} digits' if style else 'all of MNIST train'
    for tiny, num_examples in (('', splits), ('_tiny', _TINY_SPLITS)):
      configs.append(
        DiceConfig(
          name=f'{name}{tiny}',
          description=(
            f'{size}x{size} pixels of {samples}x{samples} samples, '
            f'{digits}{looks}'
          ),
          frame_size=size,
          supersampling=samples,
          style=style,
          num_examples=num_examples,
          bytes_per_example=num_bytes,
          examples_per_second=rate,
        )
      )
  return configs


class Digits(NamedTuple):
  """Pictures of digits and what they show: u8 [D, 28, 28] and i32 [D]."""

  pictures: np.ndarray
  classes: np.ndarray


class Builder(shards.ShardedBuilder):
  """Dice as a TFDS dataset."""

  BUILDER_CONFIGS = _configs()
  CHUNK = 8
  _digits: Digits | None = None

  def fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
    """The views, what each shows of the die, and what made them."""
    room = dice.sample('train', 0)
    size, num_faces = self.builder_config.frame_size, len(dice.FACES)
    fields = {
      'frames': ((dice.NUM_VIEWS, size, size, 3), np.uint8),
      'face_pixels': ((dice.NUM_VIEWS, num_faces), np.uint16),
      'digit_index': ((num_faces,), np.int32),
      'digit_class': ((num_faces,), np.int32),
    }
    for name in _FIELDS:
      field = getattr(room, name)
      fields[name] = field.shape, field.dtype
    return fields

  def fetch(
    self, dl_manager: tfds.download.DownloadManager | None = None
  ) -> None:
    """Has the digits at hand; BuildError says why they cannot be had."""
    if self._digits is not None:
      return
    if self.builder_config.style:
      pictures = dice.digits()
      classes = np.arange(len(pictures), dtype=np.int32) // dice.PER_CLASS
      self._digits = Digits(pictures, classes)
      return
    self._digits = _mnist_train(
      dl_manager
      or self._make_download_manager(None, tfds.download.DownloadConfig())
    )

  def make(
    self, split: str, ids: Sequence[int], num_views: int = dice.NUM_VIEWS
  ) -> dict[str, np.ndarray]:
    """Samples these rooms and renders their first views."""
    config = self.builder_config
    self.fetch()
    every = dice.Style(digits=range(len(self._digits.pictures)))
    rooms = dice.sample_batch(split, ids, style=config.style or every)
    rooms = rooms._replace(cameras=rooms.cameras[:, :num_views])
    frames, face_pixels = dice.render_batch(
      rooms,
      config.frame_size,
      config.supersampling,
      images=self._digits.pictures,
    )
    arrays = {name: getattr(rooms, name) for name in _FIELDS}
    return arrays | {
      'frames': np.asarray(frames),
      'face_pixels': np.asarray(face_pixels),
      'digit_index': rooms.digits,
      'digit_class': self._digits.classes[rooms.digits],
    }

  def preview(self, path: os.PathLike[str]) -> None:
    """Draws some views of eight training scenes, a row each."""
    frames = self.make('train', range(8), num_views=12)['frames']
    scenes = [f'scene {i}' for i in range(len(frames))]
    views = [f'view {i + 1}' for i in range(frames.shape[1])]
    images.save_png(path, images.sheet(frames, scenes, views))


def _mnist_train(dl_manager: tfds.download.DownloadManager) -> Digits:
  """MNIST's training set, whose first ten of a class are the shipped ones."""
  try:
    paths = dl_manager.download([_URL + name for name in _FILES])
    pictures, classes = map(_read_idx, paths)
  except (
    OSError,  # all that `requests` raises is one too
    EOFError,
    ValueError,  # what is unpacked is of another size
    tfds.download.DownloadError,
    download_manager.NonMatchingChecksumError,
  ) as error:
    raise shards.BuildError(
      f'no MNIST: {str(error).splitlines()[0].rstrip(":")}; put '
      f'{" and ".join(_FILES)} into {dl_manager.download_dir / "manual"}, or '
      'take a config that needs no download, as default'
    ) from error
  first = [np.flatnonzero(classes == digit)[:10] for digit in range(10)]
  if not np.array_equal(pictures[np.concatenate(first)], dice.digits()):
    raise shards.BuildError(
      f'{paths[0]} and {paths[1].name} are not MNIST: their first ten of each '
      'class are not the 100 digits of the simulator; delete them, and the '
      'same command fetches them anew'
    )
  return Digits(pictures, classes.astype(np.int32))


def _read_idx(path: os.PathLike[str]) -> np.ndarray:
  """Reads bytes in MNIST's format: number of axes, their sizes, content."""
  with gzip.open(path) as file:
    data = file.read()
  shape = np.frombuffer(data, '>i4', data[3], offset=4)
  return np.frombuffer(data, np.uint8, offset=4 + shape.nbytes).reshape(shape)
