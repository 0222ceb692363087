"""A scene of one's own from files as they are: of any format, size and length.

A folder of pictures, an animation (GIF, WebP, APNG), a video file (MP4 and its
like, by imageio-ffmpeg, an extra), or arrays (NPY, NPZ); a room, whose pictures
have cameras. Every picture is fitted into a square as it is read, so that the
largest video fits into memory.
"""

from collections.abc import Iterator
import contextlib
import pathlib
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image

from cgqn_jax.data import cameras, folders, pictures
from cgqn_jax.files import is_left_behind

FITS = ('crop', 'pad', 'stretch')
# Of what a decoder reads, and of arrays.
FILMS = (
  '.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ogv', '.webm',
  '.wmv',
)  # fmt: skip
ARRAYS = ('.npy', '.npz')
ANIMATIONS = ('.apng', '.gif', '.webp')  # beside PNG, which rarely are
_COLORS = (1, 3)  # channels of an array


class Shape(NamedTuple):
  """How pictures become frames.

  size: H = W of the frames, in pixels.
  fit: what becomes of pictures that are not square: 'crop' keeps their middle,
    'pad' all of them between black bars, 'stretch' all of them, distorted.
  every: each how manieth picture of a video is a frame.
  up: of `cameras.UP`, the axis that points up where cameras come from NeRF or
    COLMAP; None finds it.
  """

  size: int
  fit: str = 'crop'
  every: int = 1
  up: str | None = None


class Video(NamedTuple):
  """One scene.

  frames: [N, H, H, 3] uint8.
  views: [N, V], times or poses of its own; None for frames at equal distances
    in time.
  original: width and height of its first picture.
  part: what tells it from others of the same file; else ''.
  """

  frames: np.ndarray
  views: np.ndarray | None
  original: tuple[int, int]
  part: str = ''


def is_scene(path: pathlib.Path) -> bool:
  """Tells whether `read` takes this folder or file.

  Of a folder's pictures the first of each kind is looked into: a folder of
  animations is none of stills.
  """
  if path.is_dir():
    return cameras.is_posed(path) or bool(stills(path))
  suffix = path.suffix.lower()
  kinds = (*FILMS, *ARRAYS, *ANIMATIONS)
  return suffix in kinds or pictures.is_film(path)


def is_room(path: pathlib.Path) -> bool:
  """Tells whether this is a folder of pictures that have cameras."""
  return path.is_dir() and (
    cameras.is_posed(path) or (path / folders.POSES).is_file()
  )


def stills(folder: pathlib.Path) -> list[pathlib.Path]:
  """The pictures in a folder that are no animations, in order."""
  kinds: dict[str, list[pathlib.Path]] = {}
  for path in sorted(folder.iterdir(), key=folders.in_order):
    suffix = path.suffix.lower()
    if suffix in pictures.SUFFIXES and not is_left_behind(path):
      kinds.setdefault(suffix, []).append(path)
  still = [x for x in kinds.values() if not pictures.is_film(x[0])]
  return sorted((p for paths in still for p in paths), key=folders.in_order)


def read(path: pathlib.Path, shape: Shape) -> Iterator[Video]:
  """The video of a folder or file; those of a stack of several.

  Raises:
    ValueError: in one line, for what cannot be read.
  """
  suffix = path.suffix.lower()
  if path.is_dir() and cameras.is_posed(path):
    yield _read_posed(path, shape)
  elif path.is_dir():
    yield _read_folder(path, shape)
  elif suffix in ARRAYS:
    yield from _read_arrays(path, shape)
  else:
    read_film = _decoded if suffix in FILMS else pictures.film
    yield _video(read_film(path), None, shape, path)


def fitted(picture: np.ndarray, shape: Shape) -> np.ndarray:
  """A picture [H, W, 3] uint8 as a frame [size, size, 3]."""
  height, width = picture.shape[:2]
  size, image = shape.size, Image.fromarray(picture)
  if (width, height) == (size, size):
    return picture
  # It averages where pixels become fewer, and does not ring.
  how, box = Image.Resampling.HAMMING, None
  if shape.fit == 'crop':
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
  elif shape.fit == 'pad':
    scale = size / max(width, height)
    inner = [max(1, round(scale * side)) for side in (width, height)]
    frame = Image.new('RGB', (size, size))
    left, top = ((size - side) // 2 for side in inner)
    frame.paste(image.resize(inner, how), (left, top))
    return np.array(frame)
  return np.array(image.resize((size, size), how, box))


def _video(
  found: Iterator[np.ndarray],
  views: np.ndarray | None,
  shape: Shape,
  path: pathlib.Path,
) -> Video:
  """A video of pictures, each fitted before the next is made."""
  frames, original = [], None
  for number, picture in enumerate(found):
    original = original or (picture.shape[1], picture.shape[0])
    if number % shape.every == 0:
      frames.append(fitted(picture, shape))
  if not frames:
    raise ValueError(f'{path} holds no picture')
  some = None if views is None else views[:: shape.every]
  return Video(np.stack(frames), some, original)


def _read_folder(folder: pathlib.Path, shape: Shape) -> Video:
  images = folders.images_of(folder)
  names = [path.name for path in images]
  poses = folders.read_poses(folder / folders.POSES, names)
  return _video(map(_still, images), poses, shape, folder)


def _read_posed(folder: pathlib.Path, shape: Shape) -> Video:
  """A room whose cameras come from NeRF or COLMAP."""
  found = cameras.read(folder, shape.up)
  for note in found.notes:
    print(f'note: {note}', file=sys.stderr)
  return _video(map(_still, found.paths), found.poses, shape, folder)


def _still(path: pathlib.Path) -> np.ndarray:
  first, *more = pictures.film(path)
  if more:
    raise ValueError(
      f'{path} holds {1 + len(more)} pictures, and the others beside it one '
      'each; move it away'
    )
  return first


def _decoded(path: pathlib.Path) -> Iterator[np.ndarray]:
  """The pictures of a video file, [H, W, 3] uint8, turned upright."""
  try:
    import imageio_ffmpeg
  except ImportError:
    raise ValueError(
      f'{path}: {path.suffix} needs a decoder, which is not installed: pip '
      'install imageio-ffmpeg (or "cgqn_jax[video]"); or save the video as a '
      'GIF or as a folder of pictures'
    ) from None
  with folders.readable(path):
    with contextlib.closing(imageio_ffmpeg.read_frames(path)) as frames:
      width, height = next(frames)['size']
      for data in frames:
        yield np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _read_arrays(path: pathlib.Path, shape: Shape) -> Iterator[Video]:
  with folders.readable(path):
    frames, views = _arrays(path)
    layout = _layout(frames.shape)
    if frames.dtype != np.uint8 and frames.dtype.kind != 'f':
      raise ValueError(
        f'its pictures are {frames.dtype}; they must be uint8, or floats in '
        '[0, 1]'
      )
    several = frames.ndim == len(layout) + 2
    if several and views is not None:
      raise ValueError('it holds views, and several videos; save each alone')
    for number, video in enumerate(frames if several else (frames,)):
      rows = (_color(picture, layout) for picture in video)
      part = f'-{number:05}' if several else ''
      yield _video(rows, views, shape, path)._replace(part=part)


def _arrays(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
  """The pictures of a file, and their views if it has some."""
  if path.suffix.lower() == '.npy':
    return np.load(path, mmap_mode='r', allow_pickle=False), None
  with np.load(path, allow_pickle=False) as arrays:
    names = list(arrays)
    if names != ['views'] and len(set(names) - {'views'}) == 1:
      (name,) = set(names) - {'views'}
    elif 'frames' in names:
      name = 'frames'
    else:
      raise ValueError(
        f'it holds {", ".join(names[:5]) or "nothing"}; call the pictures '
        'frames'
      )
    frames = arrays[name]
    views = arrays['views'] if 'views' in names else None
  count = len(frames) if frames.ndim else 0
  if views is not None and (
    views.dtype.kind not in 'iuf' or views.ndim != 2 or len(views) != count
  ):
    raise ValueError(
      f'views are {list(views.shape)} of {views.dtype}; they must be numbers, '
      f'[{count}, V] as there are {count} frames'
    )
  return frames, views


def _layout(shape: tuple[int, ...]) -> str:
  """The axes of one picture: 'HW', 'HWC' or 'CHW'."""
  if len(shape) == 3:
    return 'HW'
  if len(shape) in (4, 5):
    if shape[-1] in _COLORS:
      return 'HWC'
    if shape[-3] in _COLORS:
      return 'CHW'
  raise ValueError(
    f'its pictures are {list(shape)}; they must be [N, H, W], [N, H, W, 3] or '
    '[N, 3, H, W], with one axis more in front where there are several videos'
  )


def _color(picture: np.ndarray, layout: str) -> np.ndarray:
  """[H, W, 3] uint8 from a picture of an array."""
  picture = np.asarray(picture)
  if layout == 'HW':
    picture = picture[..., None]
  elif layout == 'CHW':
    picture = np.moveaxis(picture, 0, -1)
  if picture.dtype.kind == 'f':
    if not (picture.min() >= 0 and picture.max() <= 1):  # NaN, too
      raise ValueError(
        f'its pictures are {picture.dtype} from {picture.min():g} to '
        f'{picture.max():g}; floats must be in [0, 1]: divide them, or save '
        'them as uint8'
      )
    picture = np.round(255 * picture.astype(np.float64)).astype(np.uint8)
  return np.ascontiguousarray(np.repeat(picture, 3 // picture.shape[-1], -1))
