"""The shards of a dataset: their names, making one, and telling if it is whole.

Everything here keeps to the layout that TFDS itself gives a dataset, so that
`tfds.builder_from_directory` reads the result; see build.py.
"""

import functools
import json
import os
import pathlib
from typing import NamedTuple

import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, file_adapters
from tensorflow_datasets.core import splits as splits_lib
from tensorflow_datasets.core import writer as writer_lib

_HERE = pathlib.Path(__file__).resolve().parent
_FORMAT = file_adapters.FileFormat.ARRAY_RECORD

Builder = tfds.core.ShardBasedBuilder


class BuildError(ValueError):
  """What a user can mend; shown as one line."""


class Shard(NamedTuple):
  """One file of a split: where it belongs and the example ids in it."""

  split: str
  path: pathlib.Path
  ids: range


@functools.cache
def load(dataset: str, config: str | None, data_dir: str | None) -> Builder:
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
  return builder_cls(
    config=config, data_dir=data_dir, file_format=_FORMAT.value
  )


def fetch(builder: Builder) -> None:
  """Has a builder download what it needs, if it needs anything."""
  if not hasattr(builder, 'fetch'):
    return
  try:
    builder.fetch()
  except ValueError as error:
    raise BuildError(str(error)) from error


def filename_template(
  builder: Builder, split: str, directory: pathlib.Path
) -> tfds.core.ShardedFileTemplate:
  """TFDS's template for the file names of a split."""
  return tfds.core.ShardedFileTemplate(
    data_dir=directory,
    dataset_name=builder.name,
    split=split,
    filetype_suffix=_FORMAT.file_suffix,
  )


def expected(builder: Builder, directory: pathlib.Path) -> list[Shard]:
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
  examples = builder.examples(shard.split, shard.ids)
  writer.write(zip(shard.ids, examples, strict=True), path=part)
  problem = damage(shard._replace(path=part))
  if problem:
    raise BuildError(f'could not write: {problem}; is the disk full?')
  with part.open('rb') as file:
    os.fsync(file.fileno())
  part.rename(shard.path)
  return len(shard.ids)


def write_info(builder: Builder, directory: pathlib.Path) -> None:
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
