"""What a training left, for tests to compare."""

import json
import pathlib

import jax

from cgqn_jax.models.build import build
from cgqn_jax.training import update
from cgqn_jax.training.checkpoints import Checkpoints
from cgqn_jax.training.update import TrainState
from cgqn_jax.training.workdir import read_workdir

_TIMES = {'updates_per_second', 'data_share'}


def rows(workdir: pathlib.Path) -> list[dict]:
  """The log without its columns of time."""
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k not in _TIMES}
    for line in lines
  ]


def restore(workdir: pathlib.Path, step: int) -> TrainState:
  """A whole training state."""
  config = read_workdir(workdir)
  model = build(config)
  template = jax.eval_shape(lambda: update.create_state(model, config))
  with Checkpoints(workdir / 'checkpoints', read_only=True) as checkpoints:
    return jax.device_get(checkpoints.restore(template, step))
