"""Where videos come from: a prepared dataset, a simulator, a folder.

A source is random-access and knows nothing of context or target. Its element
is a `Video`: what is shown frame by frame, and how `to_frames` makes pixels
of it once the frames that a batch needs have been picked.
"""

from collections.abc import Callable
import pathlib
import re
from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from cgqn_jax.simulators import narratives
from cgqn_jax.types import Array

SPLITS = ('train', 'validation', 'test')
# Scenes of a simulated stream: as many ids as an int32 holds. Validation and
# test stay the stored thousand, so that numbers compare.
STREAM = {'train': 2**31 - 1, 'validation': 1000, 'test': 1000}


class Video(NamedTuple):
  """One scene on the host.

  shown: a tree of arrays [N, ...], one row a frame: the frames themselves,
    or what the simulator draws them from.
  fixed: a tree of arrays that hold for all frames.
  views: [N, V] float32.
  example_id: int.
  """

  shown: Any
  fixed: Any
  views: np.ndarray
  example_id: int


class Source(Protocol):
  """Random access to the videos of one split."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Video: ...

  def to_frames(self, shown: Any, fixed: Any) -> Array:
    """Batched rows [B, N, ...] -> uint8 frames [B, N, H, W, 3]."""


def open_source(config: ConfigDict, split: str) -> Source:
  """The source that config.data names; ValueError says what is wrong."""
  makers: dict[str, Callable[[ConfigDict, str], Source]] = {
    'tfds': TfdsSource,
    'simulator': SimulatorSource,
    'folder': FolderSource,
  }
  if config.data.source not in makers:
    raise ValueError(
      f'data.source is {config.data.source!r}; it must be one of '
      f'{", ".join(makers)}'
    )
  return makers[config.data.source](config, split)


def timestamps(num_frames: int) -> np.ndarray:
  """The views of a video: i / (N - 1), [N, 1] (paper, section 4.1)."""
  last = max(num_frames - 1, 1)
  return (np.arange(num_frames) / last).astype(np.float32)[:, None]


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
    for path in (folder.iterdir() if folder.is_dir() else ())
    if re.fullmatch(r'\d+\.\d+\.\d+', path.name)
  ]
  newest = max(
    versions, key=lambda p: tuple(map(int, p.name.split('.'))), default=None
  )
  return newest


class TfdsSource:
  """A split of a dataset that `datasets/build.py` has prepared."""

  def __init__(self, config: ConfigDict, split: str):
    path = dataset_path(config)
    build = (
      f'python datasets/build.py {config.dataset} '
      f'--config={dataset_config(config)}'
    )
    if config.data.data_dir:
      build += f' --data_dir={config.data.data_dir}'
    if path is None:
      raise ValueError(
        f'dataset {config.dataset}/{dataset_config(config)} is not built; '
        f'build it with: {build}'
      )
    try:
      builder = tfds.builder_from_directory(path)
      self._records = builder.as_data_source(split)
      # The last record of every shard: a truncated file shows here, not in
      # the middle of a run.
      ends = np.cumsum(builder.info.splits[split].shard_lengths)
      last = [self._records[int(end) - 1] for end in ends][-1]
    except Exception as error:
      reason = str(error).splitlines()[0] if str(error) else type(error)
      raise ValueError(
        f'the {split} split of {path} cannot be read ({reason}); build it '
        f'again with: {build} --overwrite'
      ) from error
    _check_frames(config, last['frames'].shape, path)

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Video:
    record = self._records[index]
    frames = record['frames']
    views = timestamps(len(frames))
    return Video(frames, (), views, int(record['example_id']))

  def to_frames(self, shown: Any, fixed: Any) -> Array:
    del fixed
    return shown


class SimulatorSource:
  """A stream of the same scenes, sampled by id and drawn on the device."""

  def __init__(self, config: ConfigDict, split: str):
    self._name, self._split = config.data.config, split
    self._frame_size = config.data.frame_size
    self._length = 256 if config.data.tiny else STREAM[split]
    if self._name not in narratives.NARRATIVES:
      raise ValueError(
        f'data.config is {self._name!r}; the simulated narratives are '
        f'{", ".join(narratives.NARRATIVES)}'
      )
    frames = narratives.NARRATIVES[self._name].num_frames
    size = self._frame_size
    _check_frames(config, (frames, size, size, 3), self._name)

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, index: int) -> Video:
    story = narratives.sample(self._name, self._split, index)
    shown = {'positions': story.positions, 'color': story.color}
    fixed = {k: v for k, v in story._asdict().items() if k not in shown}
    views = timestamps(len(story.positions))
    return Video(shown, fixed, views, index)

  def to_frames(self, shown: Any, fixed: Any) -> Array:
    story = narratives.Story(**shown, **fixed)
    return narratives.render_batch(story, self._frame_size)


class FolderSource:
  """Your own videos: <path>/<split>/<video>.npz or .../<video>/*.png.

  An NPZ holds `frames` [N, H, W, 3] uint8 and, optionally, `views` [N, V]
  float32; a folder of images is a video in the order of their names. The
  first `data.num_frames` frames of each are used.
  """

  def __init__(self, config: ConfigDict, split: str):
    folder = pathlib.Path(config.data.path).expanduser() / split
    if not config.data.path or not folder.is_dir():
      raise ValueError(
        f'data.path is {config.data.path!r}: {folder} is not a folder; '
        "source='folder' reads <path>/train, <path>/validation and "
        '<path>/test, each with one NPZ or one folder of images a video'
      )
    self._paths = sorted(
      p for p in folder.iterdir() if p.is_dir() or p.suffix == '.npz'
    )
    self._config = config
    if not self._paths:
      raise ValueError(f'{folder} holds no video: no .npz and no folder')
    self[0]

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> Video:
    path, wanted = self._paths[index], self._config.data.num_frames
    views = None
    if path.suffix == '.npz':
      with np.load(path) as arrays:
        if 'frames' not in arrays:
          raise ValueError(f'{path} holds no array called frames')
        frames = arrays['frames'][:wanted]
        if 'views' in arrays:
          views = arrays['views'][:wanted].astype(np.float32)
    else:
      images = sorted(
        p for p in path.iterdir() if p.suffix in ('.png', '.jpg', '.jpeg')
      )
      frames = [Image.open(p).convert('RGB') for p in images[:wanted]]
      frames = np.array([np.array(image) for image in frames])
    _check_frames(self._config, frames.shape, path)
    if views is None:
      views = timestamps(len(frames))
    expected = (wanted, self._config.data.view_size)
    if frames.dtype != np.uint8 or views.shape != expected:
      raise ValueError(
        f'{path}: frames are {frames.dtype}, views {list(views.shape)}; frames '
        f'must be uint8, views {list(expected)} (data.num_frames and '
        'data.view_size)'
      )
    return Video(frames, (), views, index)

  def to_frames(self, shown: Any, fixed: Any) -> Array:
    del fixed
    return shown


def _check_frames(
  config: ConfigDict, shape: tuple[int, ...], where: Any
) -> None:
  """ValueError unless `shape` is what the config says."""
  size = config.data.frame_size
  expected = (config.data.num_frames, size, size, 3)
  if tuple(shape) != expected:
    raise ValueError(
      f'{where}: a video is {list(shape)}; data.num_frames and '
      f'data.frame_size ask for {list(expected)}'
    )
