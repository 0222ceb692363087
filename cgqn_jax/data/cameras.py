"""Posed photographs of others: NeRF's transforms.json and COLMAP's text.

Their cameras become poses in this project's axes: z is up, yaw turns from +x
to +y, pitch is up, lengths are such that cameras lie between -1 and 1; see
docs/own_rooms.md. What a pose of five numbers cannot say (roll, several
lenses) is refused, or noted where it is little. The files are not trusted.
"""

from collections.abc import Sequence
import math
import pathlib
from typing import NamedTuple

import numpy as np

from cgqn_jax import files
from cgqn_jax.data import camera_files, pictures
from cgqn_jax.data.camera_files import LENS_MOST, Camera
from cgqn_jax.data.folders import in_order

ROLL_NOTED, ROLL_MOST = 3.0, 15.0  # degrees from upright
LENS_NOTED = 0.02  # by which the widest picture is wider than another
UP = {
  'x': (1, 0, 0), 'y': (0, 1, 0), 'z': (0, 0, 1),
  '-x': (-1, 0, 0), '-y': (0, -1, 0), '-z': (0, 0, -1),
}  # fmt: skip
_SPREAD = 0.01  # least share of variance in which cameras' axes differ


class World(NamedTuple):
  """How this project's axes lie in those of a file.

  A place p becomes turn @ (p - center) / unit.
  """

  turn: np.ndarray  # [3, 3], a rotation
  center: np.ndarray  # [3]
  unit: float


class Photographs(NamedTuple):
  """What a folder holds.

  paths: of N pictures, in the order of their names.
  poses: [N, 5] x, y, z, yaw, pitch.
  world: that the poses are in.
  notes: a line each, for whoever gave the folder.
  """

  paths: list[pathlib.Path]
  poses: np.ndarray
  world: World
  notes: list[str]


def is_posed(folder: pathlib.Path) -> bool:
  """Tells whether there are cameras of NeRF or COLMAP in a folder."""
  return bool(
    camera_files.transforms(folder) or camera_files.models(folder, 'images.txt')
  )


def read(folder: pathlib.Path, up: str | None = None) -> Photographs:
  """The pictures in a folder and their poses.

  NeRF's cameras are in transforms.json, or in transforms_train.json and the
  like, which are read together; COLMAP's are in cameras.txt and images.txt of
  the folder or of its sparse/0, text or colmap_text.

  Args:
    folder: of one room.
    up: of `UP`, the axis of the file that points up; None finds it, as that
      in which the cameras are held most upright.

  Raises:
    ValueError: in one line, for cameras that no poses can say, and files that
      are not what they are called.
  """
  if found := camera_files.transforms(folder):
    cameras = [
      camera for path in found for camera in camera_files.of_nerf(path, folder)
    ]
  elif found := camera_files.models(folder, 'images.txt'):
    if len(found) > 1:
      raise ValueError(
        f'{folder} has {len(found)} models of COLMAP, {found[0].parent} and '
        f'{found[1].parent} among them; keep one, or give its folder'
      )
    cameras = camera_files.of_colmap(found[0], folder)
  else:
    text = ''
    if binary := camera_files.models(folder, 'images.bin'):
      model = binary[0].parent
      text = (
        f'; {binary[0]} is binary: colmap model_converter --input_path {model} '
        f'--output_path {model} --output_type TXT'
      )
    raise ValueError(
      f'{folder} holds no transforms.json of NeRF and no images.txt of '
      f'COLMAP{text}'
    )
  cameras.sort(key=lambda camera: in_order(camera.path))
  _check_pictures(cameras, found[0])
  notes = _left_out(cameras, found[0]) + _check_lenses(cameras, found[0])
  poses, world, rolls = _posed(cameras, up)
  notes += _check_rolls(cameras, rolls, up)
  return Photographs([c.path for c in cameras], poses, world, notes)


def _posed(
  cameras: Sequence[Camera], up: str | None
) -> tuple[np.ndarray, World, np.ndarray]:
  """Poses [N, 5], their world, and the roll of each in degrees."""
  axes = np.stack([camera.axes for camera in cameras])
  places = np.stack([camera.place for camera in cameras])
  turn = _upright(_find_up(axes) if up is None else np.array(UP[up], float))
  axes, places = axes @ turn.T, places @ turn.T
  low, high = places.min(0), places.max(0)
  middle, unit = (low + high) / 2, float((high - low).max() / 2)
  if unit <= 1e-6 * np.abs(places).max():  # all from one place
    unit = 1.0
  right, top, ahead = axes.swapaxes(0, 1)
  # The nearest camera that is held level: its right is horizontal.
  yaw = np.arctan2(right[:, 0], -right[:, 1])
  along = ahead[:, 0] * np.cos(yaw) + ahead[:, 1] * np.sin(yaw)
  pitch = np.arctan2(ahead[:, 2], along)
  roll = np.degrees(np.arctan2(right[:, 2], np.hypot(right[:, 0], right[:, 1])))
  # Beyond straight up or down it hangs from its feet.
  hangs = top[:, 2] < -math.sin(math.radians(ROLL_MOST))
  roll = np.where(hangs, 180 - np.abs(roll), roll)
  poses = np.column_stack([(places - middle) / unit, yaw, pitch])
  return poses, World(turn, turn.T @ middle, unit), roll


def _find_up(axes: np.ndarray) -> np.ndarray:
  """[3] up, to which the cameras' right is most nearly at right angles.

  Where cameras look nearly one way, their tops decide among what is left.
  """
  right, top = axes[:, 0], axes[:, 1].mean(0)
  values, vectors = np.linalg.eigh(right.T @ right / len(right))
  level = vectors[:, values < values[0] + _SPREAD]
  up = level @ (level.T @ top)
  length = np.linalg.norm(up)
  return up / length if length > 1e-6 else np.array(UP['z'], float)


def _upright(up: np.ndarray) -> np.ndarray:
  """[3, 3] the least rotation that takes `up` to +z."""
  axis = np.array([up[1], -up[0], 0.0])  # up x z, as long as the sine
  sine, cosine = np.linalg.norm(axis), up[2]
  if sine < 1e-12:
    return np.diag([1.0, np.sign(cosine), np.sign(cosine)])
  x, y, z = axis / sine
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + sine * cross + (1 - cosine) * cross @ cross


def _check_pictures(cameras: Sequence[Camera], where: pathlib.Path) -> None:
  if len(cameras) < 2:
    raise ValueError(
      f'{where} has {len(cameras)} posed pictures; a room needs several'
    )
  paths = [camera.path for camera in cameras]
  lacking = [path for path in paths if not path.is_file()]
  if lacking:
    raise ValueError(
      f'{where}: {len(lacking)} of {len(paths)} pictures are not there, the '
      f'first of them {lacking[0]}'
    )
  for one, other in zip(paths, paths[1:], strict=False):
    if one == other:
      raise ValueError(f'{where}: {one} has two cameras')


def _left_out(cameras: Sequence[Camera], where: pathlib.Path) -> list[str]:
  """Notes of pictures that lie beside the others and have no camera."""
  paths = {camera.path for camera in cameras}
  folders = {path.parent for path in paths}
  beside = {
    path
    for folder in folders
    for path in folder.iterdir()
    if path.suffix.lower() in pictures.SUFFIXES
    and not files.is_left_behind(path)
  }
  left = sorted(beside - paths, key=in_order)
  if not left:
    return []
  return [
    f'{len(left)} of {len(paths) + len(left)} pictures have no camera in '
    f'{where} and are left out, the first of them {left[0].name}'
  ]


def _check_lenses(cameras: Sequence[Camera], where: pathlib.Path) -> list[str]:
  """Notes of lenses that differ; ValueError where they differ by much."""
  known = [camera for camera in cameras if camera.lens is not None]
  if not known:
    return []
  least, most = (f(known, key=lambda c: c.lens) for f in (min, max))
  excess = most.lens / least.lens - 1
  if excess <= LENS_NOTED:
    return []
  angles = [
    f'{math.degrees(2 * math.atan(c.lens)):.1f} degrees in {c.path.name}'
    for c in (least, most)
  ]
  line = f'{where}: the shorter side sees {angles[0]} and {angles[1]}'
  if excess > LENS_MOST:
    raise ValueError(
      f'{line}; a pose does not say how wide a picture is, so they may differ '
      f'by {LENS_MOST:.0%}: use pictures of one lens and zoom'
    )
  return [f'{line}, which a pose does not say']


def _check_rolls(
  cameras: Sequence[Camera], rolls: np.ndarray, up: str | None
) -> list[str]:
  """Notes of cameras that are held askew; ValueError for more than a little."""
  worst = int(np.argmax(np.abs(rolls)))
  name, roll = cameras[worst].path, abs(rolls[worst])
  for limit, most in ((ROLL_MOST, True), (ROLL_NOTED, False)):
    count = int(np.sum(np.abs(rolls) > limit))
    if not count:
      continue
    line = (
      f'{count} of {len(rolls)} cameras are rolled by more than {limit:g} '
      f'degrees, {name} by {roll:.0f}'
    )
    if not most:
      return [f'{line}; a pose has no roll, so they are taken as upright']
    axis = 'found' if up is None else up
    raise ValueError(
      f'{line}; a pose has no roll: leave them out, turn the pixels of '
      'photographs held upright before their cameras are found, or say which '
      f'axis is up ({", ".join(UP)}; now {axis})'
    )
  return []
