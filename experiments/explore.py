r"""Writes a page in which a person looks around in a model's samples.

  python experiments/explore.py --workdir=W --scenes=0:8 --out=explore.html

One HTML file for any browser, which needs no server and no network: context,
truth and samples of each scene, the spread of every pixel over the samples, and
the protocol. Time is dragged in videos, azimuth in rooms of dice. Other rooms
are shown in their own views, beside the truth, or without it from all around,
on a ring like their cameras (--azimuths=24). The samples are those of sample.py
with the same flags. A page has at most 10 MB; fewer scenes, samples or azimuths
make it smaller.
"""

import pathlib

from absl import flags

from cgqn_jax import cli, files
from cgqn_jax.figures import explorer
from cgqn_jax.training.workdir import read_workdir

_WORKDIR = cli.weights_flag()
_CONTEXT = cli.context_flag()
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', 16, 'Samples of each scene.', lower_bound=1
)
_AZIMUTHS = flags.DEFINE_integer(
  'azimuths',
  None,
  f'Views all around a room; by default {explorer.AZIMUTHS} of dice, and of '
  'other rooms those that they have.',
  lower_bound=1,
)
_SCENES = cli.scenes_flag('0:8')
_SPLIT = cli.split_flag()
_STEP = cli.step_flag()
_SEED = cli.seed_flag('Of the samples.')
_SOURCE = cli.source_flag()
_DATA_PATH = cli.data_path_flag()
_OUT = cli.path_flag('out', 'explore.html', 'Page to write.')


def check_out(path: pathlib.Path) -> pathlib.Path:
  """Returns the path; ValueError where no page of ours may be written."""
  if path.suffix.lower() not in ('.html', '.htm'):
    raise ValueError(
      f'cannot write {path}: its suffix is {path.suffix!r}; give .html'
    )
  files.try_file(path)
  if path.exists() and path.stat().st_size:
    if explorer.MARK.encode() not in path.read_bytes():
      raise ValueError(
        f'{path} is there, and is no page of explore.py; choose another --out'
      )
  return path


def run() -> None:
  """Reads the flags, samples, writes the page."""
  path = check_out(_OUT.value)
  config = read_workdir(_WORKDIR.value)
  scenes = cli.parse_frames(_SCENES.value, 'scenes', 10**9)
  if not scenes:
    raise ValueError('--scenes names no scene')
  context = _CONTEXT.value
  if context is not None:
    context = cli.parse_frames(context, 'context', config.data.num_frames)
  page = explorer.explore(
    _WORKDIR.value,
    scenes,
    step=_STEP.value,
    context=context,
    num_samples=_NUM_SAMPLES.value,
    azimuths=_AZIMUTHS.value,
    seed=_SEED.value,
    split=_SPLIT.value,
    source=_SOURCE.value,
    data_path=_DATA_PATH.value,
    bar='scenes',
  )
  files.replace_text(path, page)
  print(
    f'{len(scenes)} scene(s), {_NUM_SAMPLES.value} samples each, '
    f'{len(page.encode()) / 1e6:.1f} MB: open {path} in a browser'
  )


if __name__ == '__main__':
  cli.start(run, required=('workdir',))
