"""Packs the weights of a run into a folder small enough to ship.

  python experiments/export.py --workdir=W --out=cgqn_jax/weights/NAME

The folder holds the config, one checkpoint without the optimiser's state (the
averaged parameters where the run kept them), and the table of W/eval if there
is one. `cgqn_jax.load`, sample.py and evaluate.py take it as a workdir.
"""

import shutil

import jax.numpy as jnp

from cgqn_jax import cli
from cgqn_jax.files import replace_text, try_folder
from cgqn_jax.training.checkpoints import Checkpoints
from cgqn_jax.training.update import TrainState
from cgqn_jax.training.workdir import checkpoint_step, load, open_workdir

_WORKDIR = cli.path_flag('workdir', None, 'Folder of a training.')
_STEP = cli.step_flag()
_OUT = cli.path_flag('out', None, 'Folder to make.')


def export() -> None:
  """Reads the flags and writes the folder."""
  out, workdir = _OUT.value, _WORKDIR.value
  if out.exists():
    raise ValueError(f'{out} exists; remove it or choose another --out')
  try_folder(out)
  step = checkpoint_step(workdir, _STEP.value)
  _, params, config = load(workdir, step)
  open_workdir(out, config)
  # Of the training, not of this packing.
  shutil.copy(workdir / 'versions.json', out)
  state = TrainState(jnp.int32(step), params, (), None)
  with Checkpoints(out / 'checkpoints') as checkpoints:
    checkpoints.save(state)
  # Orbax stores an absolute path here; only that the file exists matters.
  for mark in out.rglob('commit_success.txt'):
    replace_text(mark, 'complete\n')
  if (workdir / 'eval').is_dir():
    shutil.copytree(workdir / 'eval', out / 'eval')
  size = sum(p.stat().st_size for p in out.rglob('*') if p.is_file())
  print(f'update {step:,} in {out}, {size / 1e6:.1f} MB')


if __name__ == '__main__':
  cli.start(export, required=('workdir', 'out'))
