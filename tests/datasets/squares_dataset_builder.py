"""A dataset for test_build.py that takes a second to build."""

import os
import time

import numpy as np
import shards


class Builder(shards.ShardedBuilder):
  BUILDER_CONFIGS = [
    shards.Config(
      name='plain', bytes_per_example=200, examples_per_second=1000.0
    ),
    shards.Config(
      name='huge', bytes_per_example=10**15, examples_per_second=1000.0
    ),
  ]
  CHUNK = 2

  def fields(self):
    return {'square': ((3,), np.int32)}

  def shards(self):
    return {
      'train': [range(i, i + 5) for i in range(0, 40, 5)],
      'test': [range(0, 3), range(3, 5)],
    }

  def examples(self, split, ids):
    with open(os.environ['SQUARES_LOG'], 'a') as log:
      log.write(f'{split} {ids[0]}\n')
    for example in super().examples(split, ids):
      time.sleep(float(os.environ.get('SQUARES_SLEEP', '0')))
      yield example

  def make(self, split, ids):
    squares = (np.arange(3) + np.array(ids)[:, None]) ** 2 + (split == 'test')
    return {'square': squares.astype(np.int32)}

  def preview(self, path):
    path.write_text(f'picture of {self.builder_config.name}')
