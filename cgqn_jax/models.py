"""Models by name: built from a config, or loaded from a workdir."""

import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from cgqn_jax import objective
from cgqn_jax.checkpoints import Checkpoints, Step
from cgqn_jax.model import CGQN
from cgqn_jax.networks import Networks
from cgqn_jax.types import Params
from cgqn_jax.workdir import read_workdir


def build(config: ConfigDict) -> CGQN:
  """The model of a config, as configs/*.py make it.

  Raises:
    ValueError: for a model that there is not, a field that it has not, or a
      frame size that its networks cannot take.
  """
  fields = dict(config.model)
  name = fields.pop('name')
  if name != 'cgqn':
    raise ValueError(f"model.name is {name!r}; it must be 'cgqn'")
  _check_sizes(config)
  networks = Networks(
    frame_size=config.data.frame_size, view_size=config.data.view_size, **fields
  )
  return CGQN(networks, pixel_variance(config))


def pixel_variance(config: ConfigDict) -> Any:
  """The schedule of sigma^2 over the updates of a run."""
  return objective.schedule(
    num_steps=config.num_steps, **dict(config.pixel_variance)
  )


def load(
  workdir: str | pathlib.Path, step: Step = 'best'
) -> tuple[CGQN, Params, ConfigDict]:
  """The model, its parameters and its config from a training's folder.

  Args:
    workdir: of `experiments/train.py`, or a folder of shipped weights.
    step: of the checkpoint: a number, 'latest', or 'best' by validation loss
      (the latest where none was validated).

  Returns:
    (model, params, config); the averaged parameters where the run kept them.

  Raises:
    ValueError: when the folder is no workdir or holds no such checkpoint.
  """
  config = read_workdir(workdir)
  model = build(config)
  folder = pathlib.Path(workdir) / 'checkpoints'
  with Checkpoints(folder, read_only=True) as checkpoints:
    step = _resolve(checkpoints, step)
    template = jax.eval_shape(model.init, jax.random.key(0))
    params = checkpoints.restore_params(template, step)
  return model, params, config


def checkpoint_step(workdir: str | pathlib.Path, step: Step = 'best') -> int:
  """The number of the checkpoint that `load` takes."""
  folder = pathlib.Path(workdir) / 'checkpoints'
  with Checkpoints(folder, read_only=True) as checkpoints:
    return _resolve(checkpoints, step)


def parse_step(text: str) -> Step:
  """What --step says: a number, 'latest' or 'best'."""
  return int(text) if text.isdigit() else text


def _resolve(checkpoints: Checkpoints, step: Step) -> int:
  best, latest = checkpoints.best_step, checkpoints.latest_step
  if latest is None:
    raise ValueError(f'{checkpoints.path} holds no checkpoint')
  if step == 'best':
    return latest if best is None else best
  return latest if step == 'latest' else step


def _check_sizes(config: ConfigDict) -> None:
  kernel, widths = config.model.kernel, config.model.encoder_widths
  if kernel < 1 or kernel % 2 == 0:
    raise ValueError(f'model.kernel is {kernel}; it must be odd')
  if len(widths) != 4:
    raise ValueError(
      f'model.encoder_widths is {tuple(widths)}; the encoder has 4 layers'
    )
  size = config.data.frame_size
  hidden, canvas = config.model.stride_to_hidden, config.model.stride_to_obs
  unit = 4 * hidden
  if size < 1 or size % unit:
    raise ValueError(
      f'data.frame_size is {size}; the encoder divides it by 4 and '
      f'model.stride_to_hidden by {hidden} more, so it must be a multiple of '
      f'{unit}'
    )
  if size % (size // unit * canvas):
    raise ValueError(
      f'model.stride_to_obs is {canvas}; it must divide {unit}, the number of '
      'pixels that a cell of the latent grid covers'
    )
