"""Photographs posed by NeRF's and COLMAP's files, and files that are wrong."""

from collections.abc import Callable
import json
import math
import pathlib
import re

import numpy as np
import pytest

from cgqn_jax.data import cameras as cameras_lib
from cgqn_jax.data import examples
from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice import tracing
from tests.data import posed_files
from tests.data.posed_files import FOCAL, IDENTITY, SIZE


def turned(axis: tuple, degrees: float) -> np.ndarray:
  """A rotation about an axis."""
  x, y, z = np.array(axis) / np.linalg.norm(axis)
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  angle = math.radians(degrees)
  return (
    np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
  )


# As COLMAP leaves it: any scale, any origin, nothing upright.
ASTRAY = (3.7, turned((1, 2, -0.5), 140), np.array([4.0, -20.0, 9.0]))


@pytest.fixture(scope='module')
def taken() -> tuple[np.ndarray, np.ndarray]:
  """Cameras [12, 7] of the simulator and what they see."""
  return posed_files.photographs(count=12)


def written(kind: str, folder: pathlib.Path, taken: tuple, world: tuple):
  write = {'nerf': posed_files.write_nerf, 'colmap': posed_files.write_colmap}
  return write[kind](folder, *taken, world)


def test_the_files_mean_what_nerf_and_colmap_mean(taken):
  """Their own ways from pixel to ray, and from point to pixel."""
  camera = taken[0][4]
  i, j = 5.0, 12.0  # a pixel's column and row
  right, down = 2 * i / SIZE - 1, 2 * j / SIZE - 1
  place, expected = tracing.rays(camera, np.array(right), np.array(down))
  expected = np.array(expected) / np.linalg.norm(expected)

  matrix = posed_files.nerf_of(['a'], [camera])['frames'][0]
  matrix = np.array(matrix['transform_matrix'])
  half = SIZE / 2
  ray = matrix[:3, :3] @ [(i - half) / FOCAL, -(j - half) / FOCAL, -1]
  np.testing.assert_allclose(ray / np.linalg.norm(ray), expected, atol=1e-6)
  np.testing.assert_allclose(matrix[:3, 3], place)

  cells = posed_files.colmap_of(['a'], [camera]).splitlines()[1].split()
  w, x, y, z, *shift = map(float, cells[1:8])
  point = np.array(place) + 2.5 * expected
  # q p q* by the vector part: p + 2 w (v x p) + 2 v x (v x p).
  v = np.array([x, y, z])
  seen = (
    point + 2 * w * np.cross(v, point) + 2 * np.cross(v, np.cross(v, point))
  )
  seen = seen + shift
  assert seen[2] > 0
  pixel = FOCAL * seen[:2] / seen[2] + half
  np.testing.assert_allclose(pixel, (i, j), atol=1e-4)


@pytest.mark.parametrize('kind', ['nerf', 'colmap'])
def test_poses_are_the_simulator_s_own(tmp_path, taken, kind):
  """They draw the same pictures when they are put back where they were."""
  cameras, frames = taken
  found = cameras_lib.read(written(kind, tmp_path / 'a', taken, IDENTITY))
  assert [path.name for path in found.paths] == [
    f'photo {n + 1}.png' for n in range(12)
  ]
  assert found.notes == []
  assert all(path.is_file() for path in found.paths)
  places = found.poses[:, :3]
  assert np.abs(places).max() == pytest.approx(1)
  np.testing.assert_allclose(places.max(0) + places.min(0), 0, atol=1e-9)
  np.testing.assert_allclose(found.world.turn, np.eye(3), atol=1e-6)
  views = examples.cameras(found.poses)
  views[:, :3] = views[:, :3] * found.world.unit + found.world.center
  np.testing.assert_allclose(views, cameras, atol=1e-5)
  again = posed_files.rendered(dice.sample('train', 0, 12), views)
  assert np.mean(np.abs(again.astype(int) - frames) > 1) < 1e-3


@pytest.mark.parametrize('kind', ['nerf', 'colmap'])
@pytest.mark.parametrize('flip', [False, True])
def test_a_world_astray_is_set_upright(tmp_path, taken, kind, flip):
  """The room is the same but for where x points."""
  cameras, _ = taken
  world = ASTRAY
  if flip:  # z points down, and only one rotation in a circle of them is least
    world = (0.2, turned((1, 0, 0), 180), np.zeros(3))
  found = cameras_lib.read(written(kind, tmp_path / 'a', taken, world))
  own = cameras_lib.read(posed_files.write_nerf(tmp_path / 'b', *taken))
  turns = np.exp(1j * (found.poses[:, 3] - own.poses[:, 3]))
  np.testing.assert_allclose(turns, turns[0], atol=1e-5)
  np.testing.assert_allclose(found.poses[:, 4], own.poses[:, 4], atol=1e-5)
  # Distances keep their ratios; the box is another, as x points elsewhere.
  ratio = own.world.unit * world[0] / found.world.unit
  flat = own.poses[:, 0] + 1j * own.poses[:, 1]
  expected = (flat - flat.mean()) * turns[0] * ratio
  flat = found.poses[:, 0] + 1j * found.poses[:, 1]
  np.testing.assert_allclose(flat - flat.mean(), expected, atol=1e-5)
  # And its own statement of the world is right.
  places = world[0] * cameras[:, :3] @ world[1].T + world[2]
  stated = (places - found.world.center) @ found.world.turn.T / found.world.unit
  np.testing.assert_allclose(found.poses[:, :3], stated, atol=1e-5)


def ring(count: int = 6) -> tuple[np.ndarray, np.ndarray]:
  """Cameras on a ring and black pictures, without the simulator's work."""
  cameras = dice.turntable(count).astype(np.float64)
  return cameras, np.zeros((count, SIZE, SIZE, 3), np.uint8)


def edited(folder: pathlib.Path, edit: Callable[[dict], None]) -> pathlib.Path:
  """A folder whose transforms.json was changed."""
  posed_files.write_nerf(folder, *ring())
  path = folder / 'transforms.json'
  value = json.loads(path.read_text())
  edit(value)
  path.write_text(json.dumps(value))
  return folder


def rolled(value: dict, degrees: float, which: slice = slice(2, 3)) -> None:
  """Turns some cameras about the direction in which they look."""
  for frame in value['frames'][which]:
    matrix = np.array(frame['transform_matrix'])
    matrix[:3, :3] = matrix[:3, :3] @ turned((0, 0, 1), degrees)
    frame['transform_matrix'] = matrix.tolist()


def set_frame(value: dict, **fields) -> None:
  value['frames'][3].update(fields)


def set_matrix(value: dict, factor: np.ndarray) -> None:
  matrix = np.array(value['frames'][3]['transform_matrix'])
  matrix[:3, :3] = matrix[:3, :3] @ factor
  set_frame(value, transform_matrix=matrix.tolist())


def test_names_without_suffix_and_several_files(tmp_path):
  """As NeRF's own scenes are: transforms_train.json, './train/r_0'."""
  folder = edited(tmp_path / 'a', lambda value: None)
  value = json.loads((folder / 'transforms.json').read_text())
  (folder / 'transforms.json').unlink()
  for frame in value['frames']:
    frame['file_path'] = frame['file_path'].removesuffix('.png')
  for name, part in ('train', slice(0, 4)), ('test', slice(4, 6)):
    text = json.dumps(value | {'frames': value['frames'][part]})
    (folder / f'transforms_{name}.json').write_text(text)
  found = cameras_lib.read(folder)
  assert [path.name for path in found.paths] == [
    f'photo {n + 1}.png' for n in range(6)
  ]
  assert cameras_lib.is_posed(folder) and not cameras_lib.is_posed(tmp_path)


@pytest.mark.parametrize(
  ('edit', 'message'),
  [
    (lambda v: v.pop('frames'), 'must have `frames`, a list'),
    (lambda v: v['frames'].clear(), 'has 0 posed pictures'),
    (lambda v: set_frame(v, file_path=7), 'frame 3: file_path must be'),
    (
      lambda v: set_frame(v, file_path='images/none.png'),
      '1 of 6 pictures are not there, the first of them .*none.png',
    ),
    (
      lambda v: set_frame(v, file_path='../secret.png'),
      'frame 3: .*secret.png lies outside of',
    ),
    (
      lambda v: set_frame(v, file_path='images/photo 1.png'),
      'photo 1.png has two cameras',
    ),
    (
      lambda v: set_frame(v, transform_matrix=[[1, 2], [3]]),
      'frame 3: transform_matrix must be 4 x 4 finite numbers',
    ),
    (
      lambda v: set_frame(v, transform_matrix=np.full((4, 4), 1e999).tolist()),
      'frame 3: transform_matrix must be 4 x 4 finite numbers',
    ),
    (
      lambda v: set_frame(v, transform_matrix=(2 * np.eye(4)).tolist()),
      'frame 3: the last row .* must be 0, 0, 0, 1',
    ),
    (
      lambda v: set_matrix(v, 1.5 * np.eye(3)),
      'frame 3: .* must be a rotation, and is none',
    ),
    (
      lambda v: set_matrix(v, np.diag([-1.0, 1, 1])),
      'frame 3: .* must be a rotation, and is a reflection',
    ),
    (
      lambda v: rolled(v, 90),
      '1 of 6 cameras are rolled by more than 15 degrees, .*3.png by',
    ),
    (lambda v: rolled(v, 180), '1 of 6 cameras are rolled .*3.png by 180'),
    (
      lambda v: set_frame(v, camera_angle_x=1.2),
      'shorter side sees 54.0 degrees in .* and 68.8 degrees in photo 4.png;',
    ),
    (
      lambda v: set_frame(v, fl_x=30, fl_y=60, w=16, h=16),
      'frame 3: the focal lengths are 30 and 60; pixels must be square',
    ),
    (lambda v: set_frame(v, fl_x=-1), 'frame 3: fl_x is -1; it must be above'),
    (lambda v: set_frame(v, w='wide'), 'frame 3: w must be a finite number'),
  ],
)
def test_mistakes_in_transforms(tmp_path, edit, message):
  with pytest.raises(ValueError) as error:
    cameras_lib.read(edited(tmp_path / 'a', edit))
  assert re.search(message, str(error.value)), error.value
  assert '\n' not in str(error.value)


def test_what_is_little_is_noted(tmp_path):
  def edit(value: dict) -> None:
    rolled(value, 5)
    set_frame(value, camera_angle_x=math.radians(56))

  folder = edited(tmp_path / 'a', edit)
  for name in ('left.jpg', 'Thumbs.db', '.hidden.png'):
    (folder / 'images' / name).write_bytes(b'')
  left, lens, roll = cameras_lib.read(folder).notes
  assert re.match('1 of 7 pictures have no camera .* left.jpg', left)
  assert 'sees 54.0 degrees' in lens and '56.0 degrees in photo 4.png' in lens
  assert re.match('1 of 6 cameras are rolled by more than 3 degrees', roll)


@pytest.mark.parametrize(
  ('name', 'old', 'new', 'message'),
  [
    ('images', ' 1 photo 2.png', ' 8 photo 2.png', 'cameras.txt has no camera'),
    ('images', ' 1 photo 2.png', '', 'line 4: it must be IMAGE_ID QW QX'),
    ('images', '\n\n', '\n', 'line 4: it must be IMAGE_ID QW QX'),
    ('images', 'photo 6.png', 'photo 7.png', '1 of 6 pictures are not there'),
    ('images', '\n2 ', '\n2 9', 'line 4: the quaternion is .* long'),
    ('images', '\n2 ', '\n2 nan ', 'line 4: QW to TZ must be finite'),
    ('images', 'photo 6.png', '/etc/passwd', 'passwd lies outside of'),
    ('cameras', 'SIMPLE_RADIAL', 'PERSPECTIVE', "there is no lens 'PERSPECT"),
    ('cameras', ' 16 16', ' 16', 'must have WIDTH, HEIGHT and 4 finite'),
    ('cameras', ' 16 16', ' 16 -16', 'focal lengths must be above 0'),
    ('cameras', None, '', 'cameras.txt is not there'),
  ],
)
def test_mistakes_in_colmap_s_text(tmp_path, name, old, new, message):
  folder = posed_files.write_colmap(tmp_path / 'a', *ring())
  path = folder / 'sparse' / '0' / f'{name}.txt'
  if old is None:
    path.unlink()
  else:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
  with pytest.raises(ValueError) as error:
    cameras_lib.read(folder)
  assert re.search(message, str(error.value)), error.value
  assert '\n' not in str(error.value)


def test_links_are_followed(tmp_path):
  """Large pictures often lie elsewhere."""
  folder = posed_files.write_colmap(tmp_path / 'a', *ring())
  (folder / 'images').rename(tmp_path / 'large')
  (folder / 'images').symlink_to(tmp_path / 'large')
  assert len(cameras_lib.read(folder).paths) == 6
  # A folder of rooms is none.
  assert cameras_lib.is_posed(folder) and not cameras_lib.is_posed(tmp_path)


def test_a_binary_model_has_its_remedy(tmp_path):
  model = tmp_path / 'sparse' / '0'
  model.mkdir(parents=True)
  (model / 'images.bin').write_bytes(b'')
  with pytest.raises(ValueError, match='colmap model_converter --input_path'):
    cameras_lib.read(tmp_path)


def test_the_axis_that_is_up_may_be_said(tmp_path):
  """All photographs are held askew, which no one can tell from the cameras."""
  folder = edited(tmp_path / 'a', lambda v: rolled(v, 90, slice(None)))
  with pytest.raises(ValueError, match='which axis is up .*; now z'):
    cameras_lib.read(folder, up='z')
  straight = edited(tmp_path / 'b', lambda v: None)
  found = cameras_lib.read(straight, up='z')
  np.testing.assert_allclose(found.world.turn, np.eye(3))
  with pytest.raises(ValueError, match='rolled'):
    cameras_lib.read(straight, up='-y')


def test_straight_down_and_all_one_way(tmp_path):
  """A drone's yaw is that of its picture; a wall's up that of its pictures."""
  cameras, frames = ring()
  # To the least float, yaw is not in the direction of such a view.
  cameras[:3, 5:] = -1, 1e-12
  found = cameras_lib.read(
    posed_files.write_nerf(tmp_path / 'down', cameras, frames)
  )
  views = examples.cameras(found.poses)
  np.testing.assert_allclose(views[:, 3:], cameras[:, 3:], atol=1e-6)
  cameras[:] = 0, 0, 0, 0.6, 0.8, -0.28, 0.96
  cameras[:, 1] = np.arange(6)
  world = (1.0, turned((1, 0, 0), -90), np.zeros(3))  # y is up
  found = cameras_lib.read(
    posed_files.write_nerf(tmp_path / 'wall', cameras, frames, world)
  )
  # Right is level; how far the top leans over, nobody can say.
  assert found.notes == [] and np.ptp(found.poses[:, 3:]) < 1.5
  found = cameras_lib.read(tmp_path / 'wall', up='y')
  np.testing.assert_allclose(found.poses[:, 4], math.asin(-0.28), atol=1e-6)
