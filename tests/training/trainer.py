"""Trainings within the tests' process, of one config that is compiled once."""

from collections.abc import Iterator
import contextlib
import pathlib

import chex
import pytest

from cgqn_jax.evaluation.validation import Validation
from cgqn_jax.models.build import build
from cgqn_jax.training import loop
from cgqn_jax.training.checkpoints import saved_steps
from tests.experiments.trained_files import restore, rows


@contextlib.contextmanager
def compiled_once(config) -> Iterator[None]:
  """All trainings inside are of one model: they share what is compiled."""
  model, made = build(config), []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loop, 'build', lambda _: model)

    def validation(_, config):
      made.append(Validation(model, config))
      # Of its own scenes, by what the first has compiled.
      made[-1]._loss, made[-1]._reconstruct = (
        made[0]._loss,
        made[0]._reconstruct,
      )
      return made[-1]

    patch.setattr(loop, 'Validation', validation)
    over_devices, updates = loop.update_lib.over_devices, []

    def once(update):
      updates[:] = updates or [over_devices(update)]
      return updates[0]

    patch.setattr(loop.update_lib, 'over_devices', once)
    yield


def train(config, workdir) -> str | None:
  workdirs = {config.seed: str(workdir)}
  return loop.train(loop.check(config, workdirs), config, workdirs)


def assert_same_run(one: pathlib.Path, other: pathlib.Path) -> None:
  """The last state to the bit, the log but for its times, the pictures."""
  last = saved_steps(one / 'checkpoints')[-1]
  assert saved_steps(other / 'checkpoints')[-1] == last
  chex.assert_trees_all_equal(restore(one, last), restore(other, last))
  assert rows(one) == rows(other)
  names = [
    sorted(p.name for p in (w / 'images').iterdir()) for w in (one, other)
  ]
  assert names[0] == names[1]
