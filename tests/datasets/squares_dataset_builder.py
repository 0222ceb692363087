"""A dataset for test_build.py that takes a second to build."""

import dataclasses
import os
import time

import numpy as np
import tensorflow_datasets as tfds


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
  bytes_per_example: int = 200
  examples_per_second: float = 1000.0


class Builder(tfds.core.ShardBasedBuilder):
  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS = [
    Config(name='plain'),
    Config(name='huge', bytes_per_example=10**15),
  ]

  def _info(self):
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {
          'square': tfds.features.Tensor(
            shape=(3,), dtype=np.int32, encoding='bytes'
          ),
          'example_id': tfds.features.Scalar(np.int64),
        }
      )
    )

  def shards(self):
    return {
      'train': [range(i, i + 5) for i in range(0, 40, 5)],
      'test': [range(0, 3), range(3, 5)],
    }

  def examples(self, split, ids):
    with open(os.environ['SQUARES_LOG'], 'a') as log:
      log.write(f'{split} {ids[0]}\n')
    for i in ids:
      time.sleep(float(os.environ.get('SQUARES_SLEEP', '0')))
      square = (np.arange(3) + i) ** 2 + (split == 'test')
      yield {'square': square.astype(np.int32), 'example_id': i}

  def _shard_iterators_per_split(self, dl_manager):
    return {
      split: [
        lambda s=split, r=ids: zip(r, self.examples(s, r), strict=True)
        for ids in shards
      ]
      for split, shards in self.shards().items()
    }

  def preview(self, path):
    path.write_text(f'picture of {self.builder_config.name}')
