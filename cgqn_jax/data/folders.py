"""Scenes of one's own, from a folder: videos, or images with camera poses.

What the models take, from any source of pictures.
"""

from collections.abc import Iterator
import contextlib
import csv
import pathlib
import zipfile
import zlib

from ml_collections import ConfigDict
import numpy as np
from PIL import Image

from cgqn_jax.data import examples
from cgqn_jax.data.examples import Example, Source

POSES = 'poses.csv'
_COLUMNS = ['image', 'x', 'y', 'z', 'yaw', 'pitch']
_IMAGES = ('.png', '.jpg', '.jpeg')
_POSE, _CAMERA = 5, 7  # numbers of a pose, and of the view made of it


class FolderSource(Source):
  """Your own scenes: <path>/<split>/<scene>.npz or .../<scene>/*.png.

  An NPZ holds `frames` [N, H, W, 3] uint8 and, optionally, `views` [N, V]
  float32; poses [N, 5] (x, y, z, yaw, pitch) become cameras where
  data.view_size is 7. A folder of images (PNG or JPEG) is a scene in the order
  of their names. If poses.csv lies beside them, its header is

    image,x,y,z,yaw,pitch

  and it has one row for every image, in any order: the file's name, the
  camera's position and its angles in radians; views are the cameras. Else
  views are timestamps. The first `data.num_frames` frames of each are used.
  """

  def __init__(self, config: ConfigDict, split: str):
    self.split = split
    folder = pathlib.Path(config.data.path).expanduser() / split
    if not config.data.path or not folder.is_dir():
      raise ValueError(
        f'data.path is {config.data.path!r}: {folder} is not a folder; '
        "source='folder' reads <path>/train, <path>/validation and "
        '<path>/test, each with one NPZ or one folder of images a video'
      )
    self._paths = sorted(
      p
      for p in folder.iterdir()
      if p.name[0] != '.' and (p.is_dir() or p.suffix == '.npz')
    )
    self._config = config
    if not self._paths:
      raise ValueError(f'{folder} holds no video: no .npz and no folder')
    self[0]

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> Example:
    path, wanted = self._paths[index], self._config.data.num_frames
    read = read_npz if path.suffix == '.npz' else read_images
    frames, views = read(path, wanted)
    examples.check_frames(self._config, frames.shape, path)
    if frames.dtype != np.uint8:
      raise ValueError(f'{path}: frames are {frames.dtype}; they must be uint8')
    cameras = self._config.data.view_size == _CAMERA
    if views is None:
      if cameras:
        raise ValueError(
          f'{path} has no cameras, which data.view_size {_CAMERA} asks for: '
          f'no {POSES} beside images, or no `views` in an NPZ'
        )
      views = examples.timestamps(len(frames))
    if cameras and views.ndim == 2 and views.shape[1] == _POSE:
      views = examples.cameras(views)
    examples.check_views(self._config, views, path)
    return Example(frames, (), views.astype(np.float32), index)


def read_npz(
  path: pathlib.Path, wanted: int
) -> tuple[np.ndarray, np.ndarray | None]:
  """The first `wanted` frames of an NPZ, and their views if it has some."""
  with _readable(path), path.open('rb') as file:
    # Given a path, NumPy leaves a file that it cannot read open.
    arrays = np.load(file)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
      raise ValueError('it is no NPZ; np.savez makes one')
    if 'frames' not in arrays:
      raise ValueError('it holds no array called frames')
    frames = np.atleast_1d(arrays['frames'])[:wanted]
    if 'views' not in arrays:
      return frames, None
    views = np.atleast_1d(arrays['views'])[:wanted]
    return frames, views.astype(np.float64)


def read_images(
  folder: pathlib.Path, wanted: int
) -> tuple[np.ndarray, np.ndarray | None]:
  """The first `wanted` images of a folder, and their poses if it has some."""
  images = sorted(
    p
    for p in folder.iterdir()
    if p.suffix.lower() in _IMAGES and p.name[0] != '.'
  )
  frames = []
  for path in images[:wanted]:
    with _readable(path), Image.open(path) as image:
      frames.append(np.array(image.convert('RGB')))
    if frames[-1].shape != frames[0].shape:
      raise ValueError(
        f'{path} is {list(frames[-1].shape)}; the images before it are '
        f'{list(frames[0].shape)}'
      )
  names = [path.name for path in images]
  poses = read_poses(folder / POSES, names) if frames else None
  return np.array(frames), None if poses is None else poses[:wanted]


def read_poses(path: pathlib.Path, names: list[str]) -> np.ndarray | None:
  """[N, 5] poses of the named images; None if there is no such file."""
  if not path.is_file():
    return None
  with _readable(path):
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
  if len(pose) != _POSE or not np.all(np.isfinite(pose)):
    raise ValueError(
      f'{where}: {",".join(cells)!r} is no pose; it must be {_POSE} finite '
      f'numbers: {",".join(_COLUMNS[1:])}'
    )
  return pose


@contextlib.contextmanager
def _readable(path: pathlib.Path) -> Iterator[None]:
  """A file that its library cannot read is one line that names the file."""
  try:
    yield
  except (
    # What NumPy, Pillow and csv raise for bytes that are not theirs.
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    NotImplementedError,
    RuntimeError,
    Image.DecompressionBombError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise ValueError(f'{path} cannot be read: {reason}') from error
