"""Scenes of one's own, from a folder: videos, or images with camera poses.

What the models take, from any source of pictures. The files are not trusted:
nothing in them is run, and their sizes are looked at before their contents.
"""

from collections.abc import Iterator
from concurrent import futures
import contextlib
import csv
import math
import pathlib
import re
import sys
from typing import Any, BinaryIO
import zipfile
import zlib

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.data import examples, pictures, protocols
from cgqn_jax.data.examples import CAMERA, POSE, Example, Source
from cgqn_jax.files import is_left_behind

POSES = 'poses.csv'
_COLUMNS = ['image', 'x', 'y', 'z', 'yaw', 'pitch']
_MOST_BYTES = 2**30  # of an array in an NPZ, unpacked
_MOST_TEXT = 2**26  # bytes of poses.csv
# What a person would take for a video, and what is none here.
_NO_SCENES = (
  *pictures.SUFFIXES, *pictures.UNREAD, '.7z', '.avi', '.gz', '.h5', '.hdf5',
  '.m4v', '.mat', '.mkv', '.mov', '.mp4', '.mpg', '.npy', '.pkl', '.pt', '.rar',
  '.tar', '.tfrecord', '.tgz', '.webm', '.xz', '.zip',
)  # fmt: skip


class FolderSource(Source):
  """Your own scenes: <path>/<split>/<scene>.npz or .../<scene>/*.png.

  An NPZ holds `frames` [N, H, W, 3] uint8 and, optionally, `views` [N, V]
  float32; poses [N, 5] (x, y, z, yaw, pitch) become cameras where
  data.view_size is 7. A folder of images (`pictures.SUFFIXES`) is a scene in
  the order of their names, where 2 comes before 10. If poses.csv lies beside
  them, its header is

    image,x,y,z,yaw,pitch

  and it has one row for every image, in any order: the file's name, the
  camera's position and its angles in radians; views are the cameras. Else
  views are timestamps. The first `data.num_frames` frames of each are used;
  where the protocol allows it, a scene may have fewer, down to `fewest`.
  """

  def __init__(self, config: ConfigDict, split: str):
    """Looks at every scene: its sizes, its views, the head of a first image.

    Raises:
      ValueError: in one line, for the first scene that does not fit.
    """
    self.split = split
    folder = pathlib.Path(config.data.path).expanduser() / split
    if not config.data.path or not folder.is_dir():
      raise ValueError(
        f'data.path is {config.data.path!r}: {folder} is not a folder; '
        "source='folder' reads <path>/train, <path>/validation and "
        '<path>/test, each with one NPZ or one folder of images a video'
      )
    self._paths = _scenes(folder)
    self._config = config
    if not self._paths:
      raise ValueError(f'{folder} holds no video: no .npz and no folder')
    with futures.ThreadPoolExecutor(16) as pool:  # hides a disk's latency
      scenes = pool.map(lambda path: self._read(path, look=True), self._paths)
      views = [views for _, views in scenes]
    self[0]
    longest, wanted = max(map(len, views)), config.data.num_frames
    if split == 'train' and longest < wanted:
      print(
        f'note: data.num_frames is {wanted}, and the longest scene of {folder} '
        f'has {longest} frames; what comes after them is not learned',
        file=sys.stderr,
      )
    examples.note_scale(views, self._paths)

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> Example:
    frames, views = self._read(self._paths[index])
    return Example(frames, (), views, index)

  def _read(
    self, path: pathlib.Path, look: bool = False
  ) -> tuple[np.ndarray, np.ndarray]:
    """Frames and views of a scene; after a mere look the frames are black."""
    data = self._config.data
    read = read_images if path.is_dir() else read_npz
    frames, views = read(path, data.num_frames, data.frame_size, look)
    fewest = protocols.for_config(self._config).fewest(self._config)
    if len(frames) < fewest:
      # The frames have the size that was asked for.
      raise ValueError(
        f'{path}: a video is {list(frames.shape)}; data.num_frames is '
        f'{data.num_frames}, and data.protocol {data.protocol!r} with its '
        f'numbers of context and target frames asks for {fewest} at least'
      )
    return frames, scene_views(self._config, path, views, len(frames))


def scene_views(
  config: ConfigDict, path: pathlib.Path, views: np.ndarray | None, count: int
) -> np.ndarray:
  """The views [count, V] float32 of a scene, as the models take them.

  Args:
    config: says how many frames make a video, and what a view is.
    path: names the scene in errors.
    views: its own: times, cameras, or poses, which become cameras; None if it
      has none, and frames are at equal distances in time.
    count: of its frames.

  Raises:
    ValueError: in one line, for views that the models cannot take.
  """
  cameras = config.data.view_size == CAMERA
  if views is None:
    if cameras:
      raise ValueError(
        f'{path} has no cameras, which data.view_size {CAMERA} asks for: '
        f'no {POSES} beside images, or no `views` in an NPZ'
      )
    views = examples.timestamps(config.data.num_frames, count)
  if cameras and views.ndim == 2 and views.shape[1] == POSE:
    views = examples.cameras(views)
  return examples.checked_views(config, views, path, count)


def in_order(path: pathlib.Path) -> list[Any]:
  """Sorts names as a person does: frame_2 before frame_10."""
  # Text stands at even places, so that like is compared with like.
  parts = re.split(r'(\d+)', path.name.casefold())
  parts[1::2] = map(int, parts[1::2])
  return [parts, path.name]


def _scenes(folder: pathlib.Path) -> list[pathlib.Path]:
  """The folders and NPZs of a split, in order."""
  found = []
  for path in folder.iterdir():
    if is_left_behind(path):
      continue
    suffix = path.suffix.lower()
    if path.is_dir() or suffix == '.npz':
      found.append(path)
    elif suffix in _NO_SCENES:
      raise ValueError(
        f'{path} is no scene: a scene is one NPZ or one folder of images; '
        'make it one of them, or move it away'
      )
  return sorted(found, key=in_order)


def read_npz(
  path: pathlib.Path, wanted: int, size: int, look: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
  """The first frames of an NPZ, and their views if it has some.

  Args:
    path: of the file.
    wanted: frames at most.
    size: H = W; frames of another are not unpacked.
    look: whether the frames' head will do; they are then black.
  """
  with readable(path), path.open('rb') as file:
    if not zipfile.is_zipfile(file):
      raise ValueError('it is no NPZ, or cut off; np.savez makes one')
    with zipfile.ZipFile(file) as archive:
      names = [name.removesuffix('.npy') for name in archive.namelist()]
      if 'frames' not in names:
        there = ', '.join(names[:5]) or 'nothing'
        raise ValueError(f'it holds no array called frames, but {there}')
      with archive.open('frames.npy') as member:
        shape, fortran, dtype = _header(member, 'frames')
        if dtype != np.uint8:
          raise ValueError(f'frames are {dtype}; they must be uint8')
        if len(shape) != 4 or shape[1:] != (size, size, 3):
          raise ValueError(
            f'frames are {list(shape)}; they must be [N, {size}, {size}, 3], '
            'by data.frame_size'
          )
        count = shape[0]
        if look:
          shape = (min(count, wanted), *shape[1:])
          frames = np.broadcast_to(np.uint8(0), shape)
        else:
          frames = _rows(member, shape, fortran, dtype, wanted)
      if 'views' not in names:
        return frames, None
      with archive.open('views.npy') as member:
        shape, fortran, dtype = _header(member, 'views')
        if dtype.kind not in 'iuf' or len(shape) != 2 or shape[0] != count:
          raise ValueError(
            f'views are {list(shape)} of {dtype}; they must be numbers, '
            f'[{count}, V] as there are {count} frames'
          )
        views = _rows(member, shape, fortran, dtype, wanted)
      return frames, views.astype(np.float64)


def _header(
  file: BinaryIO, name: str
) -> tuple[tuple[int, ...], bool, np.dtype]:
  """The shape, the order (of Fortran or not) and the dtype of an array."""
  version = np.lib.format.read_magic(file)
  if version == (1, 0):
    header = np.lib.format.read_array_header_1_0(file)
  elif version == (2, 0):
    header = np.lib.format.read_array_header_2_0(file)
  else:
    raise ValueError(f'{name} has version {version} of NPY; it must be 1 or 2')
  shape, _, dtype = header
  size = math.prod(shape) * dtype.itemsize
  if not 0 <= size <= _MOST_BYTES or min(shape, default=0) < 0:
    raise ValueError(
      f'{name} are {list(shape)} of {dtype}, {size:,} bytes; an array may have '
      f'{_MOST_BYTES:,}: leave fewer frames in a scene'
    )
  return header


def _rows(
  file: BinaryIO,
  shape: tuple[int, ...],
  fortran: bool,
  dtype: np.dtype,
  wanted: int,
) -> np.ndarray:
  """The first `wanted` rows; the others are read for the checksum alone."""
  count = shape[0] if fortran else min(shape[0], wanted)
  shape = (count, *shape[1:])
  size = math.prod(shape) * dtype.itemsize
  data = file.read(size)
  while file.read(2**20):
    pass
  if len(data) < size:
    raise ValueError('it is cut off')
  rows = np.frombuffer(data, dtype).reshape(
    shape, order='F' if fortran else 'C'
  )
  return np.ascontiguousarray(rows[:wanted])


def read_images(
  folder: pathlib.Path, wanted: int, size: int, look: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
  """The first images of a folder, and their poses if it has some.

  Args:
    folder: with the images.
    wanted: images at most.
    size: H = W; images of another are not decoded.
    look: whether the head of the first image will do, where none is empty;
      the frames are then black.
  """
  images = images_of(folder)
  poses = read_poses(folder / POSES, [path.name for path in images])
  images, poses = images[:wanted], None if poses is None else poses[:wanted]
  if not look:
    return np.stack([pictures.read(p, p, size) for p in images]), poses
  pictures.check(images[0], size)
  for path in images:
    with readable(path):
      if not path.stat().st_size:
        raise ValueError('it is empty')
  return np.broadcast_to(np.uint8(0), (len(images), size, size, 3)), poses


def images_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """The images of a scene, in order; ValueError where there is none."""
  found = []
  for path in folder.iterdir():
    if is_left_behind(path):
      continue
    suffix = path.suffix.lower()
    if suffix in pictures.SUFFIXES:
      found.append(path)
    elif suffix in pictures.UNREAD:
      raise ValueError(
        f'{path}: {suffix} is not read; save it as one of '
        f'{", ".join(pictures.SUFFIXES)}'
      )
  if not found:
    raise ValueError(
      f'{folder} holds no image; those of a video are '
      f'{", ".join(pictures.SUFFIXES)}'
    )
  return sorted(found, key=in_order)


def read_poses(path: pathlib.Path, names: list[str]) -> np.ndarray | None:
  """[N, 5] poses of the named images; None if there is no such file."""
  if not path.is_file():
    return None
  with readable(path):
    if path.stat().st_size > _MOST_TEXT:
      raise ValueError(f'it has more than {_MOST_TEXT:,} bytes')
    lines = list(csv.reader(path.read_text('utf-8-sig').splitlines()))
  header = [cell.strip() for cell in lines[0]] if lines else []
  if header != _COLUMNS:
    raise ValueError(
      f'{path}: its first line is {",".join(header)!r}; it must be '
      f'{",".join(_COLUMNS)!r}'
    )
  poses = {}
  for number, cells in enumerate(lines[1:], start=2):
    if not cells:
      continue
    name, *numbers = [cell.strip() for cell in cells]
    where = f'{path}, line {number}'
    if name not in names:
      raise ValueError(f'{where}: there is no image {name!r} beside it')
    if name in poses:
      raise ValueError(f'{where}: {name!r} has a pose already')
    poses[name] = _pose(numbers, where)
  lacking = [name for name in names if name not in poses]
  if lacking:
    raise ValueError(
      f'{path}: {len(lacking)} of {len(names)} images have no pose, the first '
      f'of them {lacking[0]!r}'
    )
  return np.array([poses[name] for name in names])


def _pose(cells: list[str], where: str) -> list[float]:
  try:
    pose = [float(cell) for cell in cells]
  except ValueError:
    pose = []
  if len(pose) != POSE or not np.all(np.isfinite(pose)):
    raise ValueError(
      f'{where}: {",".join(cells)!r} is no pose; it must be {POSE} finite '
      f'numbers: {",".join(_COLUMNS[1:])}'
    )
  return pose


@contextlib.contextmanager
def readable(path: pathlib.Path) -> Iterator[None]:
  """A file that its library cannot read is one line that names the file."""
  try:
    yield
  except (
    # What zipfile, NumPy and csv raise for bytes that are not theirs.
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise ValueError(f'{path} cannot be read: {reason}') from error
