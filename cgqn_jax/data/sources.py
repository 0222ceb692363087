"""Where scenes come from: a prepared dataset, a simulator, files of others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import Any, NamedTuple

from ml_collections import ConfigDict
import numpy as np
import tensorflow_datasets as tfds

from cgqn_jax import shipped
from cgqn_jax.data import ring
from cgqn_jax.data.examples import (
  CAMERA,
  Example,
  Source,
  check_frames,
  checked_views,
  timestamps,
)
from cgqn_jax.data.folders import FolderSource
from cgqn_jax.data.gqn_records import GqnSource
from cgqn_jax.files import as_path
from cgqn_jax.simulators import dice, narratives
from cgqn_jax.types import Array, Scene

_BUILD = 'datasets/build.py'
SPLITS = ('train', 'validation', 'test')
# Scenes of a simulated stream: as many ids as an int32 holds. Validation and
# test stay the stored thousand, so that numbers compare.
STREAM = {'train': 2**31 - 1, 'validation': 1000, 'test': 1000}
_RING_SCENES = 100  # of training, whose cameras say what a ring is


def open_source(config: ConfigDict, split: str) -> Source:
  """The source that config.data names; ValueError says what is wrong."""
  makers = {
    'tfds': TfdsSource,
    'simulator': _SIMULATORS.get(config.dataset),
    'folder': FolderSource,
    'gqn': GqnSource,
  }
  name = config.data.source  # one of these, says cgqn_jax/fields.py
  if makers[name] is None:
    raise ValueError(
      f"data.source is 'simulator', and dataset {config.dataset!r} has none; "
      f'the simulators are {", ".join(_SIMULATORS)}'
    )
  return makers[name](config, split)


def look_elsewhere(
  config: ConfigDict,
  source: str | None = None,
  path: str | os.PathLike[str] | None = None,
) -> None:
  """Changes where scenes are read from; where nothing is given, nothing.

  Args:
    config: of a training, which is changed.
    source: its data.source.
    path: of the files: data.data_dir of 'tfds', data.path of others.

  Raises:
    ValueError: for the path of a simulator, which reads no files.
  """
  if source:
    config.data.source = source
  if not path:
    return
  if config.data.source == 'simulator':
    raise ValueError(
      f"--data_path is {path}, and data.source is 'simulator', which reads "
      'no files; give --source too'
    )
  config.data['data_dir' if config.data.source == 'tfds' else 'path'] = str(
    path
  )
  make_absolute(config)


def make_absolute(config: ConfigDict) -> None:
  """Makes the paths of data the same in any working directory."""
  for field in ('path', 'data_dir'):
    if path := config.data.get(field):
      config.data[field] = os.path.abspath(as_path(path))


def dataset_name(config: ConfigDict) -> str:
  """What the scenes are called in results: that of one's own is the folder's.

  Such a folder is read by the config of any dataset.
  """
  if config.data.source == 'folder':
    return pathlib.Path(config.data.path).name
  return f'{config.dataset}/{config.data.config}'


def dataset_config(config: ConfigDict) -> str:
  """The name of the TFDS config: narrative, frame size, tiny or not."""
  size = config.data.frame_size
  name = config.data.config + ('' if size == 64 else f'_{size}')
  return name + ('_tiny' if config.data.tiny else '')


def dataset_path(config: ConfigDict) -> pathlib.Path | None:
  """The prepared dataset's folder, its newest version; None if not built."""
  root = pathlib.Path(config.data.data_dir or tfds.core.constants.DATA_DIR)
  folder = root.expanduser() / config.dataset / dataset_config(config)
  versions = [
    path
    for path in folder.glob('*')
    if re.fullmatch(r'\d+\.\d+\.\d+', path.name)
  ]
  return max(
    versions, key=lambda p: tuple(map(int, p.name.split('.'))), default=None
  )


def build_missing(config: ConfigDict) -> None:
  """Builds a TFDS dataset that is missing, in a process of its own.

  It ends with this one, however that ends: what the build takes for its
  standard input closes then.
  """
  if config.data.source != 'tfds' or dataset_path(config):
    return
  name = dataset_config(config)
  arguments = [config.dataset, f'--config={name}']
  if config.data.data_dir:
    arguments.append(f'--data_dir={config.data.data_dir}')
  command = [sys.executable, str(shipped.find(_BUILD)), *arguments]
  shown = shlex.join([*shipped.command(_BUILD).split(), *arguments])
  text = (
    f'dataset {config.dataset}/{name} is not built yet; it is built now, once, '
    f'on {os.cpu_count()} cores: {shown}'
  )
  if not config.data.tiny:
    text += (
      '\nThe next line says how many scenes, how much disk and how long; the '
      'same command continues a build that was stopped. A machine with more '
      'cores is faster, and its folder may be copied.'
    )
    if config.dataset in _SIMULATORS:
      text += (
        ' --config.data.source=simulator builds nothing and draws scenes '
        'while it trains.'
      )
  print(text, flush=True)
  environment = os.environ | {'CGQN_JAX_END_WITH_STDIN': '1'}
  with subprocess.Popen(
    command, stdin=subprocess.PIPE, env=environment
  ) as process:
    try:
      code = process.wait()
    except BaseException:
      process.kill()
      raise
  if code:
    raise subprocess.CalledProcessError(code, command)


class TfdsSource(Source):
  """A split of a dataset that `datasets/build.py` has prepared."""

  def __init__(self, config: ConfigDict, split: str):
    self.split = split
    path = dataset_path(config)
    build = (
      f'{shipped.command(_BUILD)} {config.dataset} '
      f'--config={dataset_config(config)}'
    )
    if config.data.data_dir:
      build += f' --data_dir={config.data.data_dir}'
    if path is None:
      raise ValueError(
        f'dataset {config.dataset}/{dataset_config(config)} is not built; '
        f'build it with: {build}'
      )
    self._path, self._build = path, f'{build} --overwrite'
    with self._readable():
      builder = tfds.builder_from_directory(path)
      self._records = builder.as_data_source(split)
      # The last record of every shard: a truncated file shows here, not in
      # the middle of a run.
      ends = np.cumsum(builder.info.splits[split].shard_lengths)
      lasts = [self._records[int(end) - 1] for end in ends]
    for last in lasts:
      check_frames(config, last['frames'].shape, path)
      checked_views(config, _views(last), path)

  def __len__(self) -> int:
    return len(self._records)

  @contextlib.contextmanager
  def _readable(self, scene: str = '') -> Iterator[None]:
    """Turns any error of reading into a ValueError that says what to do."""
    try:
      yield
    except Exception as error:
      reason = str(error).splitlines()[0] if str(error) else type(error)
      raise ValueError(
        f'{scene}the {self.split} split of {self._path} cannot be read '
        f'({reason}); build it again with: {self._build}'
      ) from error

  def __getitem__(self, index: int) -> Example:
    with self._readable(f'scene {index} of '):
      record = self._records[index]
    example_id = int(record['example_id'])
    pixels = record.get('face_pixels')
    return Example(record['frames'], (), _views(record), example_id, pixels)


def _views(record: Mapping[str, np.ndarray]) -> np.ndarray:
  """A record's cameras; a video has none and is seen by time."""
  if 'cameras' in record:
    return record['cameras']
  return timestamps(len(record['frames']))


class _Stream(Source):
  """Scenes of a simulator; `known` are the names that data.config may have."""

  def __init__(self, config: ConfigDict, split: str, known: Iterable[str]):
    self.split, self._name = split, config.data.config
    self._frame_size = config.data.frame_size
    self._length = 256 if config.data.tiny else STREAM[split]
    if self._name not in known:
      raise ValueError(
        f'data.config is {self._name!r}; the simulated {config.dataset} are '
        f'{", ".join(known)}'
      )

  def __len__(self) -> int:
    return self._length


class NarrativeStream(_Stream):
  """The same videos, sampled by id and drawn on the device."""

  def __init__(self, config: ConfigDict, split: str):
    super().__init__(config, split, narratives.NARRATIVES)
    frames = narratives.NARRATIVES[self._name].num_frames
    size = self._frame_size
    check_frames(config, (frames, size, size, 3), self._name)

  def __getitem__(self, index: int) -> Example:
    story = narratives.sample(self._name, self.split, index)
    shown = {'positions': story.positions, 'color': story.color}
    fixed = {k: v for k, v in story._asdict().items() if k not in shown}
    views = timestamps(len(story.positions))
    return Example(shown, fixed, views, index)

  def to_frames(self, shown: Any, fixed: Any) -> Array:
    story = narratives.Story(**shown, **fixed)
    return narratives.render_batch(story, self._frame_size)


def supersampling(config: ConfigDict) -> int:
  """Rays along a pixel's side of the stored dice (see datasets/dice)."""
  fine = config.data.config != 's2' and config.data.frame_size >= 64
  return 4 if fine else 2


class DiceStream(_Stream):
  """The same rooms; only the views that a batch needs are drawn."""

  def __init__(self, config: ConfigDict, split: str):
    super().__init__(config, split, dice.STYLES)
    self._style = dice.STYLES[self._name]
    self._supersampling = supersampling(config)
    size = self._frame_size
    check_frames(config, (dice.NUM_VIEWS, size, size, 3), 'dice')
    checked_views(config, self[0].views, 'dice')

  def __getitem__(self, index: int) -> Example:
    room = dice.sample(self.split, index, style=self._style)
    fixed = {k: v for k, v in room._asdict().items() if k != 'cameras'}
    pixels = dice.face_pixels(room, self._frame_size, self._supersampling)
    return Example(
      room.cameras, fixed, room.cameras, index, np.asarray(pixels, np.uint16)
    )

  def to_frames(self, shown: Any, fixed: Any) -> Array:
    room = dice.Room(cameras=shown, **fixed)
    return dice.render_batch(room, self._frame_size, self._supersampling).frames


_SIMULATORS = {'narratives': NarrativeStream, 'dice': DiceStream}


def can_turn(config: ConfigDict) -> bool:
  """Tells whether the simulator draws the scenes from any side, as dice."""
  simulated = config.data.source in ('tfds', 'simulator')
  return config.dataset == 'dice' and simulated


class Turntable(NamedTuple):
  """Views all around rooms.

  scenes: [B, count, ...]; frames are black where nobody knows the truth.
  known: whether their frames are the truth.
  middle: x, y of what they go around.
  note: what to tell a person of the views, or ''.
  """

  scenes: Scene
  known: bool
  middle: tuple[float, float] = (0.0, 0.0)
  note: str = ''


def turntable(
  config: ConfigDict, split: str, scenes: Sequence[int], count: int
) -> Turntable:
  """`count` views all around each of these rooms.

  Dice are drawn by the simulator. Around other rooms with cameras it goes on a
  ring like the cameras of the first training scenes.

  Raises:
    ValueError: for scenes without cameras, for cameras that stand on no ring,
      and for a style of rooms that there is not.
  """
  if can_turn(config):
    stream = DiceStream(config, split)
    rooms = dice.sample_batch(
      split, scenes, style=dice.STYLES[config.data.config]
    )
    views = np.repeat(dice.turntable(count)[None], len(scenes), axis=0)
    fixed = {k: v for k, v in rooms._asdict().items() if k != 'cameras'}
    frames = np.asarray(stream.to_frames(views, fixed))
    return Turntable(Scene(frames, views), known=True)
  found = _ring(config)
  cameras = ring.around(found, count)
  size = config.data.frame_size
  black = np.zeros((len(scenes), count, size, size, 3), np.uint8)
  views = np.repeat(cameras[None], len(scenes), axis=0)
  start, end = ring.gap(found)
  note = ''
  if end - start > ring.WIDEST:
    note = (
      f'no camera of training stands from {start:.0f} to {end % 360:.0f} '
      'degrees; what is drawn there is a guess'
    )
  middle = (found.x, found.y)
  return Turntable(Scene(black, views), False, middle, note)


def _ring(config: ConfigDict) -> ring.Ring:
  """The ring of the cameras of the first training scenes."""
  if config.data.view_size != CAMERA:
    raise ValueError(
      'views all around need rooms with cameras, data.view_size 7; this is '
      f'{dataset_name(config)}, source {config.data.source!r}, with '
      f'data.view_size {config.data.view_size}'
    )
  source = open_source(config, 'train')
  views = [source[n].views for n in range(min(len(source), _RING_SCENES))]
  try:
    return ring.fit(np.concatenate(views))
  except ValueError as error:
    raise ValueError(
      f'{error}, so there is no ring to go around; ask for the views that the '
      'rooms have'
    ) from error
