"""Files of cameras that others write: NeRF's transforms.json, COLMAP's text.

Both say of each picture where its camera was and how it was turned. The files
are not trusted: sizes are looked at first, numbers and paths one by one.
"""

from collections.abc import Iterator, Mapping
import math
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from cgqn_jax import files
from cgqn_jax.data import pictures

LENS_MOST = 0.1  # by which one focal length may be longer than another
_MOST_BYTES = 2**30  # of a file; COLMAP's lists the points of every picture
_MOST = 100_000  # pictures
_OFF = 0.01  # by which what is called a rotation may be none
# Where COLMAP's text lies in a project, and its pictures.
_MODELS = ('', 'sparse', 'sparse/*', 'text', 'colmap_text')
_IMAGES = ('images', '')
# COLMAP's models of lenses: how many parameters they have, of which the first
# is fx, and the second fy where there is one.
_LENSES = {
  'SIMPLE_PINHOLE': (3, False), 'PINHOLE': (4, True),
  'SIMPLE_RADIAL': (4, False), 'RADIAL': (5, False), 'OPENCV': (8, True),
  'FULL_OPENCV': (12, True), 'FOV': (5, True),
  'SIMPLE_RADIAL_FISHEYE': (4, False), 'RADIAL_FISHEYE': (5, False),
  'OPENCV_FISHEYE': (8, True), 'THIN_PRISM_FISHEYE': (12, True),
}  # fmt: skip


class Camera(NamedTuple):
  """A picture and the camera that took it, in the axes of its file.

  path: of the picture.
  axes: [3, 3], rows to the picture's right, to its top, and ahead.
  place: [3].
  lens: tangent of half the angle that the shorter side sees; None if unknown.
  """

  path: pathlib.Path
  axes: np.ndarray
  place: np.ndarray
  lens: float | None


def transforms(folder: pathlib.Path) -> list[pathlib.Path]:
  """Its transforms.json, else those of its splits."""
  if (whole := folder / 'transforms.json').is_file():
    return [whole]
  return sorted(folder.glob('transforms_*.json'))


def of_nerf(path: pathlib.Path, folder: pathlib.Path) -> list[Camera]:
  """The cameras in a file of NeRF: camera to world; -z is ahead, y the top."""
  if path.stat().st_size > _MOST_BYTES:
    raise ValueError(f'{path} has more than {_MOST_BYTES:,} bytes')
  value = files.read_json(path)
  frames = value.get('frames') if isinstance(value, dict) else None
  if not isinstance(frames, list) or len(frames) > _MOST:
    raise ValueError(
      f'{path} must have `frames`, a list of at most {_MOST:,}, each with '
      'file_path and transform_matrix'
    )
  return [
    _of_frame(frame, value, f'{path}, frame {n}', path.parent, folder)
    for n, frame in enumerate(frames)
  ]


def _of_frame(
  frame: Any,
  shared: Mapping[str, Any],
  where: str,
  beside: pathlib.Path,
  folder: pathlib.Path,
) -> Camera:
  if not isinstance(frame, dict):
    raise ValueError(f'{where} must have file_path and transform_matrix')
  name = frame.get('file_path')
  if not isinstance(name, str) or not name:
    raise ValueError(f'{where}: file_path must be the name of a picture')
  path = _inside(beside / name, folder, where)
  if path.suffix.lower() not in pictures.SUFFIXES:  # NeRF's own leave it out
    suffixed = (path.with_name(path.name + s) for s in pictures.SUFFIXES)
    path = next((p for p in suffixed if p.is_file()), path)
  matrix = _numbers(
    frame.get('transform_matrix'),
    (4, 4),
    f'{where}: transform_matrix must be 4 x 4 finite numbers',
  )
  if np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-6:
    raise ValueError(
      f'{where}: the last row of transform_matrix is '
      f'{matrix[3].tolist()}; it must be 0, 0, 0, 1'
    )
  right, top, back = _rotation(matrix[:3, :3], where).T
  lens = _lens_of_nerf({**shared, **frame}, where)
  return Camera(path, np.stack([right, top, -back]), matrix[:3, 3], lens)


def _lens_of_nerf(fields: Mapping[str, Any], where: str) -> float | None:
  """The lens by its focal lengths in pixels, or by the angle of the width."""

  def number(name: str) -> float | None:
    if name not in fields:
      return None
    message = f'{where}: {name} must be a finite number'
    value = float(_numbers(fields[name], (), message))
    if value <= 0:
      raise ValueError(f'{where}: {name} is {value:g}; it must be above 0')
    return value

  wide, high = number('w'), number('h')
  focal, focal_y = number('fl_x'), number('fl_y')
  if focal and wide and high:
    _check_square(focal, focal_y or focal, where)
    return min(wide, high) / (2 * focal)
  angle = number('camera_angle_x')
  if not angle:
    return None
  if angle >= math.pi:
    raise ValueError(f'{where}: camera_angle_x must be in radians, below pi')
  share = min(1.0, high / wide) if wide and high else 1.0
  return math.tan(angle / 2) * share


def models(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """COLMAP's files of this name, the nearest first."""
  found = [
    path
    for depth in _MODELS
    for path in sorted(folder.glob(f'{depth}/{name}' if depth else name))
  ]
  return [path for path in found if path.is_file()]


def of_colmap(path: pathlib.Path, folder: pathlib.Path) -> list[Camera]:
  """The cameras in images.txt: world to camera; z is ahead, -y the top."""
  lenses = _lenses_of_colmap(path.with_name('cameras.txt'))
  cameras = []
  # Two lines a picture; the second has its points and may be empty.
  lines = _lines(path)
  for number, line in lines:
    if not line:
      continue
    where = f'{path}, line {number}'
    _, points = next(lines, (0, ''))
    cells = line.split(maxsplit=9)
    if len(cells) != 10 or len(points.split()) % 3:
      raise ValueError(
        f'{where}: it must be IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, '
        'followed by a line of points, which may be empty'
      )
    if len(cameras) == _MOST:
      raise ValueError(f'{path} has more than {_MOST:,} pictures')
    numbers = _numbers(
      cells[1:8], (7,), f'{where}: QW to TZ must be finite numbers'
    )
    axes = _of_quaternion(numbers[:4], where)
    if cells[8] not in lenses:
      raise ValueError(f'{where}: cameras.txt has no camera {cells[8]}')
    right, down, ahead = axes
    cameras.append(
      Camera(
        _picture(cells[9], path.parent, folder, where),
        np.stack([right, -down, ahead]),
        -axes.T @ numbers[4:],
        lenses[cells[8]],
      )
    )
  return cameras


def _picture(
  name: str, model: pathlib.Path, folder: pathlib.Path, where: str
) -> pathlib.Path:
  """The picture of this name: in images/ or beside, of folder or model."""
  places = [root / part / name for root in (folder, model) for part in _IMAGES]
  places = [_inside(place, folder, where) for place in places]
  return next((place for place in places if place.is_file()), places[0])


def _lenses_of_colmap(path: pathlib.Path) -> dict[str, float]:
  """The lens of each CAMERA_ID."""
  if not path.is_file():
    raise ValueError(f'{path} is not there; COLMAP writes it beside images.txt')
  lenses = {}
  for number, line in _lines(path):
    if not line:
      continue
    where = f'{path}, line {number}'
    identity, *cells = line.split()
    model = cells[0] if cells else ''
    if model not in _LENSES:
      raise ValueError(
        f'{where}: there is no lens {model!r}; it must be CAMERA_ID, one of '
        f'{", ".join(_LENSES)}, WIDTH, HEIGHT and its parameters'
      )
    count, has_fy = _LENSES[model]
    wide, high, fx, second, *_ = _numbers(
      cells[1:],
      (2 + count,),
      f'{where}: {model} must have WIDTH, HEIGHT and {count} finite parameters',
    )
    fy = second if has_fy else fx
    if min(wide, high, fx, fy) <= 0:
      raise ValueError(f'{where}: sizes and focal lengths must be above 0')
    _check_square(fx, fy, where)
    lenses[identity] = min(wide, high) / (2 * fx)
  return lenses


def _check_square(fx: float, fy: float, where: str) -> None:
  if max(fx, fy) > (1 + LENS_MOST) * min(fx, fy):
    raise ValueError(
      f'{where}: the focal lengths are {fx:g} and {fy:g}; pixels must be square'
    )


def _lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
  """The lines of a text of COLMAP and their numbers, without its comments."""
  try:
    if path.stat().st_size > _MOST_BYTES:
      raise ValueError(f'{path} has more than {_MOST_BYTES:,} bytes')
    with path.open(encoding='utf-8') as file:
      for number, line in enumerate(file, 1):
        if not line.startswith('#'):
          yield number, line.strip()
  except UnicodeDecodeError:
    raise ValueError(f'{path} is no text in UTF-8') from None


def _inside(
  path: pathlib.Path, folder: pathlib.Path, where: str
) -> pathlib.Path:
  """The path without dots; ValueError where it leads out of the folder.

  Links are the user's own, and may lead anywhere.
  """
  path = pathlib.Path(os.path.normpath(path))
  if not path.is_relative_to(os.path.normpath(folder)):
    raise ValueError(
      f'{where}: {path} lies outside of {folder}; put the pictures there, or a '
      'link to them, and name them from there'
    )
  return path


def _numbers(value: Any, shape: tuple[int, ...], message: str) -> np.ndarray:
  """Finite numbers of this shape; ValueError(message) where they are none."""
  try:
    array = np.array(value)
    if array.dtype.kind in 'iufU' and array.shape == shape:
      array = array.astype(np.float64)
      if np.all(np.isfinite(array)):
        return array
  except (ValueError, OverflowError, TypeError):
    pass
  raise ValueError(message)


def _of_quaternion(quaternion: np.ndarray, where: str) -> np.ndarray:
  """The rotation [3, 3] of w, x, y, z."""
  length = np.linalg.norm(quaternion)
  if abs(length - 1) > _OFF:
    raise ValueError(
      f'{where}: the quaternion is {length:g} long; that of a rotation is 1'
    )
  w, x, y, z = quaternion / length
  return np.array(
    [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
  )


def _rotation(matrix: np.ndarray, where: str) -> np.ndarray:
  """The same matrix; ValueError unless it is a rotation."""
  off = np.abs(matrix @ matrix.T - np.eye(3)).max()
  if off > 2 * _OFF or np.linalg.det(matrix) < 0:
    kind = 'a reflection' if off <= 2 * _OFF else 'none'
    raise ValueError(
      f'{where}: the upper left 3 x 3 of transform_matrix must be a rotation, '
      f'and is {kind}: its columns must be unit vectors at right angles, '
      'right-handed'
    )
  return matrix
