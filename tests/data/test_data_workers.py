"""Batches read by processes of their own."""

import contextlib
import itertools

from absl import flags
import chex
import jax
import pytest

from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import protocols
from cgqn_jax.data.sources import open_source


@pytest.mark.parametrize('dataset', ['narratives', 'dice'])
def test_processes_read_the_same_batches(
  dataset, make_config, make_dice_config
):
  """From any step on; a simulator's workers leave the devices alone."""
  flags.FLAGS.mark_as_parsed()  # as every program does; grain asks
  config = {'narratives': make_config, 'dice': make_dice_config}[dataset]()

  def take() -> list:
    with contextlib.closing(
      batches_lib.training_batches(config, open_source(config, 'train'), 2)
    ) as batches:
      return jax.device_get(list(itertools.islice(batches, 5)))

  alone = take()
  config.data.workers = 2
  chex.assert_trees_all_equal(take(), alone)


def test_there_are_not_fewer_than_none(make_config):
  config = make_config()
  config.data.workers = -1
  with pytest.raises(ValueError, match='workers is -1; it must be 0, for a'):
    protocols.check(config)
