"""Rooms of the simulator, written as NeRF and as COLMAP would write them."""

import json
import math
import pathlib

import numpy as np
from PIL import Image

from cgqn_jax.simulators import dice

SIZE = 16
FOCAL = SIZE / 2 / math.tan(math.radians(dice.FIELD_OF_VIEW / 2))
# From the simulator's axes to those of a file: p -> scale turn p + shift.
IDENTITY = (1.0, np.eye(3), np.zeros(3))


def photographs(
  scene: int = 0, count: int = 40
) -> tuple[np.ndarray, np.ndarray]:
  """Cameras [N, 7] around a room of the simulator, and what they see.

  They stand on two rings; a third of them looks a little aside.
  """
  room = dice.sample('train', scene, count)
  cameras = room.cameras.astype(np.float64)
  cameras[::2, :3] *= (0.9, 0.9, 1.3)
  aside = np.where(np.arange(count) % 3, 0.0, 0.15)
  yaw = np.arctan2(cameras[:, 3], cameras[:, 4]) + aside
  pitch = np.arctan2(cameras[:, 5], cameras[:, 6]) - aside / 2
  angles = np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
  cameras[:, 3:] = np.stack(angles, axis=-1)
  return cameras, rendered(room, cameras)


def rendered(room: dice.Room, cameras: np.ndarray) -> np.ndarray:
  """[N, SIZE, SIZE, 3] uint8."""
  batch = dice.stack([room._replace(cameras=cameras.astype(np.float32))])
  return np.asarray(dice.render_batch(batch, SIZE, 2).frames[0])


def axes_of(camera: np.ndarray) -> np.ndarray:
  """[3, 3] rows: the picture's right, its top, and ahead."""
  sin, cos, sin_pitch, cos_pitch = camera[3:]
  right = np.array([sin, -cos, 0])
  ahead = np.array([cos_pitch * cos, cos_pitch * sin, sin_pitch])
  return np.stack([right, np.cross(right, ahead), ahead])


def write_pictures(folder: pathlib.Path, frames: np.ndarray) -> list[str]:
  folder.mkdir(parents=True)
  names = [f'photo {n + 1}.png' for n in range(len(frames))]
  for name, frame in zip(names, frames, strict=True):
    Image.fromarray(frame).save(folder / name)
  return names


def nerf_of(
  names: list[str], cameras: np.ndarray, world: tuple = IDENTITY
) -> dict:
  """What transforms.json says: camera to world, x right, y up, z backwards."""
  scale, turn, shift = world
  frames = []
  for name, camera in zip(names, cameras, strict=True):
    right, top, ahead = axes_of(camera) @ turn.T
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, top, -ahead], axis=-1)
    matrix[:3, 3] = scale * turn @ camera[:3] + shift
    frames.append({'file_path': name, 'transform_matrix': matrix.tolist()})
  angle = math.radians(dice.FIELD_OF_VIEW)
  return {'camera_angle_x': angle, 'frames': frames}


def write_nerf(
  folder: pathlib.Path,
  cameras: np.ndarray,
  frames: np.ndarray,
  world: tuple = IDENTITY,
) -> pathlib.Path:
  """A folder with images/ and transforms.json; returns it."""
  names = write_pictures(folder / 'images', frames)
  value = nerf_of([f'./images/{name}' for name in names], cameras, world)
  (folder / 'transforms.json').write_text(json.dumps(value))
  return folder


def colmap_of(
  names: list[str], cameras: np.ndarray, world: tuple = IDENTITY
) -> str:
  """What images.txt says: world to camera, x right, y down, z ahead."""
  scale, turn, shift = world
  lines = ['# Image list with two lines of data per image:']
  for n, (name, camera) in enumerate(zip(names, cameras, strict=True), 1):
    right, top, ahead = axes_of(camera) @ turn.T
    matrix = np.stack([right, -top, ahead])
    place = -matrix @ (scale * turn @ camera[:3] + shift)
    numbers = [*quaternion(matrix), *place]
    text = ' '.join(f'{x:.12g}' for x in numbers)
    # The points of every other picture are left empty.
    lines += [f'{n} {text} 1 {name}', '3.5 7.25 -1 9 1.5 12' if n % 2 else '']
  return '\n'.join(lines) + '\n'


def write_colmap(
  folder: pathlib.Path,
  cameras: np.ndarray,
  frames: np.ndarray,
  world: tuple = IDENTITY,
) -> pathlib.Path:
  """A folder with images/ and sparse/0/*.txt; returns it."""
  names = write_pictures(folder / 'images', frames)
  model = folder / 'sparse' / '0'
  model.mkdir(parents=True)
  half = SIZE / 2
  lens = f'# Camera list\n1 SIMPLE_RADIAL {SIZE} {SIZE} {FOCAL} {half} {half} 0'
  (model / 'cameras.txt').write_text(lens + '\n')
  (model / 'images.txt').write_text(colmap_of(names, cameras, world))
  return folder


def quaternion(matrix: np.ndarray) -> np.ndarray:
  """w, x, y, z: the eigenvector of eigenvalue 3 of Bar-Itzhack's matrix."""
  (a, b, c), (d, e, f), (g, h, i) = matrix
  symmetric = np.array(
    [
      [a + e + i, h - f, c - g, d - b],
      [h - f, a - e - i, b + d, c + g],
      [c - g, b + d, e - a - i, f + h],
      [d - b, c + g, f + h, i - a - e],
    ]
  )
  return np.linalg.eigh(symmetric)[1][:, -1]
