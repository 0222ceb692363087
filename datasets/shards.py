"""Datasets in shards: what their builders share, and the files of a shard.

Everything here keeps to the layout that TFDS itself gives a dataset, so that
`tfds.builder_from_directory` reads the result; see build.py.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, file_adapters
from tensorflow_datasets.core import splits as splits_lib
from tensorflow_datasets.core import writer as writer_lib

_HERE = pathlib.Path(__file__).resolve().parent
_FORMAT = file_adapters.FileFormat.ARRAY_RECORD


class BuildError(ValueError):
  """What a user can mend; shown as one line."""


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
  """One variant of a dataset.

  frame_size: H = W.
  num_examples: of each split.
  bytes_per_example: on disk; measured.
  examples_per_second: on one core of a busy server; measured.
  """

  frame_size: int = 64
  num_examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
  bytes_per_example: int = 0
  examples_per_second: float = 0.0


class ShardedBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
  """A TFDS dataset of simulated examples, readable without TensorFlow.

  A dataset has `fields`, `make`, `preview` and, if it downloads, `fetch`.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Initial release.'}
  SHARD = 500  # examples; TFDS holds a shard in memory while it writes it
  CHUNK = 1  # examples made in one call

  def __init__(self, *, file_format: str | None = None, **kwargs: Any):
    # TFDS's own default can be read neither without TensorFlow nor at random.
    super().__init__(file_format=file_format or _FORMAT.value, **kwargs)

  @abc.abstractmethod
  def fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
    """The shape and dtype of each field of an example, but for its id."""

  @abc.abstractmethod
  def make(self, split: str, ids: Sequence[int]) -> dict[str, np.ndarray]:
    """The fields of these examples, each [B, ...]."""

  @abc.abstractmethod
  def preview(self, path: os.PathLike[str]) -> None:
    """Draws some training examples as one picture."""

  def fetch(
    self, dl_manager: tfds.download.DownloadManager | None = None
  ) -> None:
    """Downloads what is needed; BuildError says why it cannot be had."""

  def shards(self) -> dict[str, list[range]]:
    """The example ids in every shard of every split."""
    return {
      split: [
        range(first, min(first + self.SHARD, count))
        for first in range(0, count, self.SHARD)
      ]
      for split, count in self.builder_config.num_examples.items()
    }

  def examples(
    self, split: str, ids: Sequence[int]
  ) -> Iterator[dict[str, np.ndarray]]:
    """The examples with the given ids, in order."""
    self.fetch()
    for first in range(0, len(ids), self.CHUNK):
      chunk = ids[first : first + self.CHUNK]
      # Filled up, so that the renderer is compiled for one shape only.
      filled = [*chunk, *[chunk[-1]] * (self.CHUNK - len(chunk))]
      arrays = self.make(split, filled)
      for i, example_id in enumerate(chunk):
        example = {name: array[i] for name, array in arrays.items()}
        yield example | {'example_id': np.int64(example_id)}

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      # As bytes: written and read many times faster than TFDS's default.
      name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')
      for name, (shape, dtype) in self.fields().items()
    }
    features['example_id'] = tfds.features.Scalar(np.int64)
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features)
    )

  def _shard_iterators_per_split(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, list[Callable[[], Iterator[tuple[int, Any]]]]]:
    self.fetch(dl_manager)
    return {
      split: [functools.partial(self.with_keys, split, ids) for ids in shards]
      for split, shards in self.shards().items()
    }

  def with_keys(
    self, split: str, ids: Sequence[int]
  ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The same, each after its id, which is its key."""
    return zip(ids, self.examples(split, ids), strict=True)


class Shard(NamedTuple):
  """One file of a split: where it belongs and the example ids in it."""

  split: str
  path: pathlib.Path
  ids: range


@functools.cache
def load(
  dataset: str, config: str | None, data_dir: str | None
) -> ShardedBuilder:
  """The builder in datasets/<dataset>; BuildError names those that exist."""
  names = sorted(
    path.parent.name
    for path in _HERE.glob('*/*_dataset_builder.py')
    if path.stem == f'{path.parent.name}_dataset_builder'
  )
  if dataset not in names:
    raise BuildError(f'no dataset {dataset!r}; there are: {", ".join(names)}')
  try:
    with tfds.core.utils.add_sys_path(_HERE):
      builder_cls = tfds.core.community.builder_cls_from_module(
        f'{dataset}.{dataset}_dataset_builder'
      )
  except ModuleNotFoundError as error:
    raise BuildError(
      f'{error}; install the project first: pip install -r requirements.txt'
    ) from error
  if config is None:
    config = builder_cls.BUILDER_CONFIGS[0].name
  if config not in builder_cls.builder_configs:
    raise BuildError(
      f'{dataset} has no config {config!r}; there are: '
      + ', '.join(builder_cls.builder_configs)
    )
  return builder_cls(config=config, data_dir=data_dir)


def filename_template(
  builder: ShardedBuilder, split: str, directory: pathlib.Path
) -> tfds.core.ShardedFileTemplate:
  """TFDS's template for the file names of a split."""
  return tfds.core.ShardedFileTemplate(
    data_dir=directory,
    dataset_name=builder.name,
    split=split,
    filetype_suffix=_FORMAT.file_suffix,
  )


def expected(builder: ShardedBuilder, directory: pathlib.Path) -> list[Shard]:
  """Every shard the dataset has, named as TFDS names it."""
  shards = []
  for split, ids_per_shard in builder.shards().items():
    template = filename_template(builder, split, directory)
    for index, ids in enumerate(ids_per_shard):
      path = template.sharded_filepath(
        shard_index=index, num_shards=len(ids_per_shard)
      )
      shards.append(Shard(split, pathlib.Path(path), ids))
  return shards


def damage(shard: Shard) -> str | None:
  """What is wrong with a shard on disk; None if it is whole.

  An ArrayRecord file ends in its index, so one cut short does not open.
  """
  if not shard.path.exists():
    return f'{shard.path.name} is missing'
  try:
    found = file_adapters.ADAPTER_FOR_FORMAT[_FORMAT].num_examples(shard.path)
  except (RuntimeError, ValueError, IndexError):
    return f'{shard.path.name} is cut short or damaged'
  if found != len(shard.ids):
    return f'{shard.path.name} has {found} examples, not {len(shard.ids)}'
  return None


def write(dataset: str, config: str, data_dir: str | None, shard: Shard) -> int:
  """Makes one shard, in a worker; returns its number of examples.

  The file gets its name only when it is whole and on the disk.
  """
  builder = load(dataset, config, data_dir)
  features = builder.info.features
  writer = writer_lib.ShardWriter(
    features,
    example_serializer.ExampleSerializer(features.get_serialized_info()),
    writer_lib.ExampleWriter(_FORMAT),
  )
  part = shard.path.with_name(f'{shard.path.name}.{os.getpid()}.part')
  writer.write(builder.with_keys(shard.split, shard.ids), path=part)
  problem = damage(shard._replace(path=part))
  if problem:
    raise BuildError(f'could not write: {problem}; is the disk full?')
  with part.open('rb') as file:
    os.fsync(file.fileno())
  part.rename(shard.path)
  return len(shard.ids)


def write_info(builder: ShardedBuilder, directory: pathlib.Path) -> None:
  """Has TFDS describe the finished shards that lie in `directory`."""
  shards = expected(builder, directory)
  splits = []
  for split in builder.shards():
    mine = [shard for shard in shards if shard.split == split]
    splits.append(
      splits_lib.SplitInfo(
        name=split,
        shard_lengths=[len(shard.ids) for shard in mine],
        num_bytes=sum(shard.path.stat().st_size for shard in mine),
        filename_template=filename_template(builder, split, directory),
      )
    )
  builder.info.set_splits(splits_lib.SplitDict(splits))
  builder.info.write_to_directory(directory)
  # Beside the configs TFDS notes which of them is the default.
  shared = directory.parent.parent / '.config'
  shared.mkdir(exist_ok=True)
  default = builder.get_default_builder_config().name
  part = shared / f'metadata.json.{os.getpid()}.part'
  part.write_text(json.dumps({'default_config_name': default}))
  part.rename(shared / 'metadata.json')
