"""What a training left, for tests to compare."""

import pathlib

import jax

from cgqn_jax.files import read_jsonl
from cgqn_jax.models.build import build
from cgqn_jax.training import checkpoints, update
from cgqn_jax.training.update import TrainState
from cgqn_jax.training.workdir import read_workdir

_TIMES = {'updates_per_second', 'data_share'}


def rows(workdir: pathlib.Path) -> list[dict]:
  """The log without its columns of time."""
  return [
    {k: v for k, v in row.items() if k not in _TIMES}
    for row in read_jsonl(workdir / 'metrics.jsonl')
  ]


def restore(workdir: pathlib.Path, step: int) -> TrainState:
  """A whole training state."""
  config = read_workdir(workdir)
  model = build(config)
  template = jax.eval_shape(lambda: update.create_state(model, config))
  folder = workdir / 'checkpoints'
  return jax.device_get(checkpoints.restore(folder, template, step))
