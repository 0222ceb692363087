"""The dice: cubes with a digit on each face, in a room (section 4.2).

Built with `python datasets/build.py dice --config=default`, or, where
TensorFlow is installed, with `tfds build datasets/dice --config=default
--file_format=array_record`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import gzip
import os
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import download_manager

from cgqn_jax import images
from cgqn_jax.simulators import dice

_URL = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
_FILES = ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz')

_SPLITS = {'train': 98_000, 'validation': 1_000, 'test': 1_000}
_SMALL_SPLITS = {'train': 20_000, 'validation': 1_000, 'test': 1_000}
_TINY_SPLITS = {'train': 64, 'validation': 16, 'test': 16}
_SHARD = 500  # examples; TFDS holds a shard in memory while it writes it
# Of a room, as they are; the maps of the textures are made again from the id.
_FIELDS = ('cameras', 'cube', 'light', 'colors', 'texture')
_CHUNK = 8  # examples rendered in one call


@dataclasses.dataclass
class DiceConfig(tfds.core.BuilderConfig):
  """Dice at one frame size, of one style."""

  frame_size: int = 64
  supersampling: int = 4
  style: dice.Style | None = None  # None: with all digits of MNIST's training
  num_examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
  # Measured: on disk, and on one core of a busy server.
  bytes_per_example: int = 0
  examples_per_second: float = 0.0


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


class Builder(tfds.core.ShardBasedBuilder):
  """Dice as a TFDS dataset, readable without TensorFlow."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  BUILDER_CONFIGS = _configs()

  def __init__(self, *, file_format: str | None = None, **kwargs: Any):
    # TFDS's own default can be read neither without TensorFlow nor at random.
    super().__init__(file_format=file_format or 'array_record', **kwargs)
    self._digits: Digits | None = None

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    room = dice.sample('train', 0)
    frame = (config.frame_size, config.frame_size, 3)
    num_faces = len(dice.FACES)

    def tensor(shape: tuple[int, ...], dtype: Any) -> tfds.features.Tensor:
      # As bytes: written and read many times faster than TFDS's default.
      return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')

    features = {
      'frames': tensor((dice.NUM_VIEWS, *frame), np.uint8),
      'face_pixels': tensor((dice.NUM_VIEWS, num_faces), np.uint16),
      'digit_index': tensor((num_faces,), np.int32),
      'digit_class': tensor((num_faces,), np.int32),
      'example_id': tfds.features.Scalar(np.int64),
    }
    for name in _FIELDS:
      field = getattr(room, name)
      features[name] = tensor(field.shape, field.dtype)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
    )

  def fetch(
    self, dl_manager: tfds.download.DownloadManager | None = None
  ) -> None:
    """Has the digits at hand; ValueError says why they cannot be had."""
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
    self.fetch()
    for first in range(0, len(ids), _CHUNK):
      chunk = ids[first : first + _CHUNK]
      # Filled up, so that the renderer is compiled for one shape only.
      filled = [*chunk, *[chunk[-1]] * (_CHUNK - len(chunk))]
      rooms = dice.sample_batch(split, filled, style=self._style())
      views = dice.render_batch(
        rooms,
        config.frame_size,
        config.supersampling,
        images=self._digits.pictures,
      )
      frames, face_pixels = map(np.asarray, views)
      for i in range(len(chunk)):
        example = {name: getattr(rooms, name)[i] for name in _FIELDS}
        example['frames'] = frames[i]
        example['face_pixels'] = face_pixels[i]
        example['digit_index'] = rooms.digits[i]
        example['digit_class'] = self._digits.classes[rooms.digits[i]]
        example['example_id'] = rooms.example_id[i]
        yield example

  def preview(self, path: os.PathLike[str]) -> None:
    """Draws some training scenes, a row each."""
    config = self.builder_config
    self.fetch()
    rooms = dice.sample_batch('train', range(8), style=self._style())
    rooms = rooms._replace(cameras=rooms.cameras[:, :12])
    views = dice.render_batch(
      rooms,
      config.frame_size,
      config.supersampling,
      images=self._digits.pictures,
    )
    images.save_png(path, images.sheet(np.asarray(views.frames)))

  def _style(self) -> dice.Style:
    """The rooms' style, once the digits are at hand."""
    every = dice.Style(digits=range(len(self._digits.pictures)))
    return self.builder_config.style or every

  def _shard_iterators_per_split(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, list[Callable[[], Iterator[tuple[int, Any]]]]]:
    self.fetch(dl_manager)
    return {
      split: [functools.partial(self._with_keys, split, ids) for ids in shards]
      for split, shards in self.shards().items()
    }

  def _with_keys(
    self, split: str, ids: Sequence[int]
  ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    return zip(ids, self.examples(split, ids), strict=True)


def _mnist_train(dl_manager: tfds.download.DownloadManager) -> Digits:
  """MNIST's training set, whose first ten of a class are the shipped ones."""
  try:
    paths = dl_manager.download([_URL + name for name in _FILES])
    pictures, classes = map(_read_idx, paths)
  except (
    OSError,  # all that `requests` raises is one too
    EOFError,
    tfds.download.DownloadError,
    download_manager.NonMatchingChecksumError,
  ) as error:
    raise ValueError(
      f'no MNIST: {str(error).splitlines()[0].rstrip(":")}; put '
      f'{" and ".join(_FILES)} into {dl_manager.download_dir / "manual"}, or '
      'take a config that needs no download, as default'
    ) from error
  first = [np.flatnonzero(classes == digit)[:10] for digit in range(10)]
  if not np.array_equal(pictures[np.concatenate(first)], dice.digits()):
    raise ValueError(
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
