r"""Makes a dataset of your own videos, or posed pictures, and says what it is.

  python experiments/import_data.py PATH --out=data/mine

PATH holds the videos, at any depth: folders of pictures, GIF, WebP, APNG, MP4
and its like (with imageio-ffmpeg), NPY or NPZ; or rooms, pictures that have the
cameras of NeRF, COLMAP or a poses.csv. Everything in it is read and checked.
Written are data/mine/{train,validation,test}/*.npz, dataset.json and
contact.png, what a model will see; PATH stays as it is. Folders train,
validation and test in PATH are kept as such; without them the SHA-256 of each
name divides the videos. docs/own_data.md shows all of it, docs/own_rooms.md
what is of rooms.
"""

from collections.abc import Sequence
import pathlib
import shlex

from absl import flags
from ml_collections import ConfigDict
import numpy as np
import tqdm

from cgqn_jax import cli, files, images, shipped
from cgqn_jax.data import cameras, importing, videos
from cgqn_jax.data.importing import Imported, Scene
from cgqn_jax.data.sources import open_source
from cgqn_jax.training import loop

_SOURCE = cli.path_flag('source', None, 'Folder of the videos.')
_OUT = cli.path_flag('out', None, 'Folder to make; it must not be there yet.')
_SIZE = flags.DEFINE_integer(
  'size',
  32,
  'Height and width of the frames; 32 for a CPU, 64 for an accelerator.',
  lower_bound=8,
  upper_bound=1024,
)
_FIT = flags.DEFINE_enum(
  'fit',
  'crop',
  videos.FITS,
  'Pictures that are not square: keep their middle, put all of them between '
  'black bars, or distort them.',
)
_EVERY = flags.DEFINE_integer(
  'every', 1, 'Take each so manieth picture of a video.', lower_bound=1
)
_NUM_FRAMES = flags.DEFINE_integer(
  'num_frames',
  32,
  'Most frames of a scene; longer videos are cut into several.',
  lower_bound=2,
  upper_bound=10_000,
)
_MIN_FRAMES = flags.DEFINE_integer(
  'min_frames', 4, 'Scenes of fewer frames are left out.', lower_bound=2
)
_UP = flags.DEFINE_enum(
  'up',
  None,
  list(cameras.UP),
  'The axis that points up in the files of NeRF or COLMAP; found by default.',
)

CONTACT = 'contact.png'
_CONFIG = 'configs/own.py'
_PICTURED, _COLUMNS = 12, 11  # scenes and frames on the sheet
_FEW = 100  # training scenes below which a note is made
_NAMED = 5  # of what is left out
# An update of preset=small at 32x32 on a CPU core of today, roughly.
_SECONDS = 0.2


def run() -> None:
  """Reads the flags, imports, checks, draws, and says what comes next."""
  source, out = _SOURCE.value, _OUT.value
  if not source.exists():
    raise ValueError(f'{source} does not exist; give a folder of videos')
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'{out} is there already; choose another --out')
  if ',' in str(out):
    raise ValueError(f'{out} has a comma, which configs/own.py cannot read')
  if out.resolve().is_relative_to(source.resolve()):
    raise ValueError(f'{out} is in {source}; choose an --out beside it')
  if _SIZE.value % 8:
    raise ValueError(f'--size is {_SIZE.value}; it must be a multiple of 8')
  files.try_folder(out)
  shape = videos.Shape(_SIZE.value, _FIT.value, _EVERY.value, _UP.value)
  found = importing.write(
    source,
    out,
    shape,
    _NUM_FRAMES.value,
    _MIN_FRAMES.value,
    lambda todo: tqdm.tqdm(todo, 'reading', unit=' videos'),
  )
  config = cli.load_config(f'{shipped.find(_CONFIG)}:path={out}')
  # Whatever training would refuse shows now.
  loop.check(config)
  for split in importing.SPLITS:
    open_source(config, split)
  images.save_png(out / CONTACT, contact(found, config))
  print('\n'.join(told(found, config, source, out)))


def contact(found: Imported, config: ConfigDict) -> np.ndarray:
  """Scenes in rows, of each split some, their context marked."""
  shown = _some(found.scenes)
  count = config.data.num_frames
  columns = np.linspace(0, count - 1, min(_COLUMNS, count)).round().astype(int)
  size = config.data.frame_size
  rows = np.full((len(shown), len(columns), size, size, 3), np.nan)
  labels = []
  for row, scene in zip(rows, shown, strict=True):
    there = columns < scene.count
    row[there] = files.read_npz(scene.file)['frames'][columns[there]] / 255
    name = scene.file.stem
    name = name if len(name) <= 24 else f'{name[:11]}...{name[-10:]}'
    labels.append(f'{scene.split}: {name}, {scene.count} frames')
  return images.sheet(
    rows,
    labels,
    [f'F{i + 1}' for i in columns],
    context=np.isin(columns, config.data.test_context),
  )


def _some(scenes: Sequence[Scene]) -> list[Scene]:
  """A few of each split, from all over it; mostly of train."""
  chosen = []
  for split, most in zip(importing.SPLITS, (_PICTURED - 4, 2, 2), strict=True):
    there = [scene for scene in scenes if scene.split == split]
    places = np.linspace(0, len(there) - 1, min(most, len(there)))
    chosen += [there[int(place)] for place in places.round()]
  return chosen


def told(
  found: Imported, config: ConfigDict, source: pathlib.Path, out: pathlib.Path
) -> list[str]:
  """What there is, what training on it will be like, and the next command."""
  dataset, data, size = found.dataset, config.data, config.data.frame_size
  rooms = dataset.view_size > 1
  sizes = sorted({scene.original for scene in found.scenes})
  first, last = (f'{w}x{h}' for w, h in (sizes[0], sizes[-1]))
  originals = first if first == last else f'{first} to {last}'
  how = {
    'crop': 'their middle is kept',
    'pad': 'between black bars',
    'stretch': 'distorted where they are not square',
  }[dataset.fit]
  count = len({scene.source for scene in found.scenes})
  kind = ('room' if rooms else 'video') + ('s' if count > 1 else '')
  counts = ', '.join(f'{n} {split}' for split, n in dataset.scenes.items())
  by = {
    'folders': 'by their folders',
    'hash': 'by the SHA-256 of their names',
    'both': 'by their folders, and by the SHA-256 of their names in train',
    'photographs': 'which end with photographs that train has not',
  }[dataset.split_by]
  frames = sum(scene.count for scene in found.scenes)
  lines = [
    f'{count} {kind} in {source}: '
    f'{len(found.scenes)} scenes of {_span(dataset.shortest, data.num_frames)} '
    f'frames, {frames:,} in all',
    f'  {counts}, {by}',
    f'  pictures of {originals} pixels become {size}x{size}, {how}',
  ]
  for what, left in (
    (f'have fewer than {_MIN_FRAMES.value} frames', found.short),
    ('are no videos', found.others),
  ):
    if left:
      names = ', '.join(map(str, left[:_NAMED]))
      more = f' and {len(left) - _NAMED} more' if left[_NAMED:] else ''
      lines.append(f'  left out, as they {what}: {names}{more}')
  seconds = _SECONDS * (size / 32) ** 2
  minutes = config.num_steps * seconds / 60
  context = _span(data.min_context, data.max_context)
  where = 'any views' if rooms else (
    f'of the first {data.context_window} frames, or any 0 to '
    f'{data.max_context} frames'
  )  # fmt: skip
  lines += [
    '',
    'Training with preset=small:',
    f'  sees {context} {where}; learns all frames, in any order',
    f'  is judged on the frames after the first {len(data.test_context)}',
    f'  {config.num_steps:,} updates of {config.batch_size} scenes: roughly '
    f'{minutes:,.0f} minutes of one CPU core',
  ]
  if dataset.split_by == 'photographs':
    lines.append(
      '  it will know what it was shown, and nothing of other rooms: see '
      'docs/own_rooms.md'
    )
  elif dataset.scenes['train'] < _FEW:
    lines.append(
      f'  {dataset.scenes["train"]} training scenes are few: it will know them '
      'by heart, and say little of others; begin from shipped weights'
    )
  lines += [
    '',
    f'Look at {out / CONTACT}: it is what the model will see. Then:',
    f'  {shipped.command("experiments/train.py")} \\',
    f'      --config={_CONFIG}:path={shlex.quote(str(out))} \\',
    f'      --workdir=runs/{shlex.quote(out.name)}',
  ]
  return lines


def _span(least: int, most: int) -> str:
  return f'{least}' if least == most else f'{least} to {most}'


if __name__ == '__main__':
  cli.start(run, required=('out',), bare='source')
