"""Scenes of one's own: videos, images with poses, and broken files."""

from collections.abc import Iterator
import itertools
import shutil

from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import pytest

from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import folders, sources
from cgqn_jax.data.sources import open_source
from cgqn_jax.types import Batch

HEADER = 'image,x,y,z,yaw,pitch'
# Of images 000.png to 005.png.
ROWS = [f'{n:03}.png,{n},{0.5 * n},0.25,{0.3 * n},-0.1' for n in range(6)]
VIDEO = np.zeros((5, 16, 16, 3), np.uint8)


def frames_of(count: int) -> np.ndarray:
  """[count, 6, 16, 16, 3]."""
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, 6, 16, 16, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, make_config) -> ConfigDict:
  """The config of three videos of 5 frames: two of PNGs and an NPZ."""
  config = make_config()
  config.data.update(
    source='folder', path=str(tmp_path), num_frames=5, num_targets=2,
    min_context=1, max_context=3, context_window=5, test_context=(0, 4),
  )  # fmt: skip
  frames = frames_of(3)
  for split in sources.SPLITS:
    for name, video in zip(('a', 'b'), frames[:2], strict=True):
      images = tmp_path / split / name
      images.mkdir(parents=True)
      for n, frame in enumerate(video):
        Image.fromarray(frame).save(images / f'{n:03}.png')
    np.savez(tmp_path / split / 'c.npz', frames=frames[2])
  (tmp_path / 'train' / 'readme.txt').write_text('no video')
  (tmp_path / 'train' / '.hidden').mkdir()
  (tmp_path / 'train' / 'a' / '._000.png').write_text('of another system')
  return config


@pytest.fixture
def posed(folder, tmp_path) -> ConfigDict:
  """The config of one scene a split, of six images with poses."""
  folder.data.view_size = 7
  for split in sources.SPLITS:
    shutil.rmtree(tmp_path / split / 'b')
    (tmp_path / split / 'c.npz').unlink()
    text = '\n'.join([HEADER, *ROWS])
    (tmp_path / split / 'a' / 'poses.csv').write_text(text)
  return folder


def training(config: ConfigDict) -> Iterator[Batch]:
  return batches_lib.training_batches(config, open_source(config, 'train'))


def error_of(config: ConfigDict) -> str:
  with pytest.raises(ValueError) as error:
    sources.open_source(config, 'train')
  assert '\n' not in str(error.value)
  return str(error.value)


def test_a_folder_s_videos(folder):
  scenes = batches_lib.whole_scenes(open_source(folder, 'test'), [0, 1, 2])
  expected = frames_of(3)[:, :5]
  np.testing.assert_array_equal(scenes.frames, expected)
  np.testing.assert_allclose(scenes.views[2, :, 0], [0, 0.25, 0.5, 0.75, 1])
  batches = list(itertools.islice(training(folder), 2))
  ids = np.concatenate([batch.example_id for batch in batches])
  assert set(ids.tolist()) == {0, 1, 2}
  for batch in batches:
    for b, example_id in enumerate(batch.example_id):
      index = np.round(batch.target.views[b, :, 0] * 4).astype(int)
      np.testing.assert_array_equal(
        batch.target.frames[b], expected[example_id, index]
      )
  source = open_source(folder, 'test')
  (batch,) = batches_lib.test_batches(folder, source, 3, 3)
  np.testing.assert_array_equal(batch.target.frames, expected[:, 1:4])


def test_views_of_one_s_own(folder, tmp_path):
  views = np.float64([[0], [0.1], [0.4], [0.9], [1]])
  np.savez(tmp_path / 'test' / 'd.npz', frames=VIDEO, views=views)
  scenes = batches_lib.whole_scenes(open_source(folder, 'test'), [3])
  np.testing.assert_allclose(scenes.views[0], views)
  assert scenes.views.dtype == np.float32


def expected_cameras(n: np.ndarray) -> np.ndarray:
  """The views of ROWS."""
  n = np.asarray(n, float)
  ones = np.ones_like(n)
  columns = [n, n / 2, ones / 4, np.sin(0.3 * n), np.cos(0.3 * n)]
  return np.stack([*columns, np.sin(-0.1) * ones, np.cos(-0.1) * ones], -1)


def test_images_with_poses(posed):
  video = sources.open_source(posed, 'train')[0]
  np.testing.assert_array_equal(video.shown, frames_of(1)[0, :5])
  np.testing.assert_allclose(video.views, expected_cameras(range(5)), atol=1e-6)
  assert video.views.dtype == np.float32 and video.face_pixels is None
  batch = next(training(posed))
  for b in range(4):
    index = np.round(batch.target.views[b, :, 0]).astype(int)
    np.testing.assert_array_equal(
      batch.target.frames[b], frames_of(1)[0, index]
    )


def test_poses_in_any_order_and_dress(posed, tmp_path):
  """A spreadsheet's byte-order mark, CRLF, spaces, blank lines, quotes."""
  rows = [row.replace(',', ' , ') for row in ROWS[::-1]]
  rows.insert(2, '')
  rows[0] = '"005.png",5,2.5,.25,1.5,-1e-1'
  path = tmp_path / 'train' / 'a' / 'poses.csv'
  text = '\r\n'.join([HEADER, *rows]) + '\r\n'
  path.write_bytes(text.encode('utf-8-sig'))
  posed.data.num_frames = 6
  video = sources.open_source(posed, 'train')[0]
  np.testing.assert_allclose(video.views, expected_cameras(range(6)), atol=1e-6)


@pytest.mark.parametrize(
  'kind', ['folder', pytest.param('posed', marks=pytest.mark.slow)]
)
def test_residual_networks_train_on_it(request, make_config, update_once, kind):
  config = make_config('networks=residual')
  config.data = request.getfixturevalue(kind).data
  metrics = update_once(config)
  assert metrics['skipped'] == 0 and np.isfinite(metrics['loss'])
  assert metrics['kl'] > 1 and 0.01 < metrics['mse'] < 10


@pytest.mark.parametrize('width', [5, 7])
def test_cameras_in_an_npz(posed, tmp_path, width):
  """Poses become cameras; cameras stay."""
  rng = np.random.default_rng(1)
  views = rng.standard_normal((6, width))
  path = tmp_path / 'train' / '_.npz'
  np.savez(path, frames=frames_of(1)[0], views=views)
  found = sources.open_source(posed, 'train')[0].views
  if width == 5:
    angles = [np.sin(views[:, 3]), np.cos(views[:, 3])]
    angles += [np.sin(views[:, 4]), np.cos(views[:, 4])]
    views = np.column_stack([views[:, :3], *angles])
  np.testing.assert_allclose(found, views[:5], atol=1e-6)


def with_pose(pose: str) -> list[str]:
  """Poses of all images, that of 003.png replaced."""
  return [HEADER, *ROWS[:3], f'003.png,{pose}', *ROWS[4:]]


@pytest.mark.parametrize(
  ('lines', 'message'),
  [
    ([], "its first line is ''; it must be 'image,x,y,z,yaw,pitch'"),
    (['image,x,y,z,qx,qy,qz,qw', *ROWS], 'first line is .*qw'),
    ([HEADER, *ROWS[:-1]], "1 of 6 images have no pose, .* '005.png'"),
    ([HEADER], "6 of 6 images have no pose, .* '000.png'"),
    ([HEADER, *ROWS, '006.png,0,0,0,0,0'], "line 8: there is no .* '006.png'"),
    ([HEADER, *ROWS, ROWS[2]], "line 8: '002.png' has a pose already"),
    (with_pose('1,2,high,0,0'), "line 5: '1,2,high,0,0' is no pose; it must "),
    (with_pose('1,2,3,4'), "line 5: '1,2,3,4' is no pose; it must be 5 finite"),
    (with_pose('1,2,3,4,5,6'), 'line 5: .* is no pose'),
    (with_pose('1,2,nan,4,5'), 'line 5: .* is no pose'),
  ],
)
def test_poses_that_do_not_match(posed, tmp_path, lines, message):
  path = tmp_path / 'train' / 'a' / 'poses.csv'
  path.write_text('\n'.join(lines))
  with pytest.raises(ValueError, match=message) as error:
    sources.open_source(posed, 'train')
  assert f'{path}' in str(error.value) and '\n' not in str(error.value)


def test_poses_that_are_no_text(posed, tmp_path):
  path = tmp_path / 'train' / 'a' / 'poses.csv'
  path.write_bytes(b'\xff\xfe\x00image')
  assert f'{path} cannot be read' in error_of(posed)


def test_poses_that_are_not_there(posed, tmp_path):
  path = tmp_path / 'train' / 'a'
  (path / folders.POSES).unlink()
  message = error_of(posed)
  assert f'{path} has no cameras' in message and 'no poses.csv' in message
  np.savez(tmp_path / 'train' / '_.npz', frames=frames_of(1)[0])
  assert '_.npz has no cameras' in error_of(posed)


def test_poses_that_the_model_does_not_take(posed):
  posed.data.view_size = 1
  message = error_of(posed)
  assert 'views are [5, 5]' in message and 'data.view_size ask for' in message


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({'video': np.zeros((5, 16, 16, 3), np.uint8)}, 'no array called frames'),
    ({'frames': np.zeros((5, 16, 16, 3))}, 'float64; they must be uint8'),
    ({'frames': np.zeros((5, 9, 16, 3), np.uint8)}, r'a video is \[5, 9, 16'),
    ({'frames': np.zeros((4, 16, 16, 3), np.uint8)}, r'a video is \[4, 16'),
    ({'frames': np.uint8(3)}, r'a video is \[1\]'),
    (
      {'frames': VIDEO, 'views': np.zeros((3, 1))},
      r'views are \[3, 1\]; .* ask for \[5, 1\]',
    ),
    (
      {'frames': VIDEO, 'views': np.zeros((5, 7))},
      r'views are \[5, 7\]; .*data.view_size ask for \[5, 1\]',
    ),
    (
      {'frames': VIDEO, 'views': np.full((5, 1), np.inf)},
      'a view is not finite',
    ),
    (
      {'frames': VIDEO, 'views': np.array([['left']] * 5)},
      'cannot be read: could not convert string',
    ),
    ({'frames': np.array([None])}, 'cannot be read: Object arrays'),
  ],
)
def test_videos_that_do_not_fit(folder, tmp_path, arrays, message):
  """The first video is read when the folder is opened."""
  path = tmp_path / 'train' / '_first.npz'
  np.savez(path, **arrays)
  with pytest.raises(ValueError, match=message) as error:
    sources.open_source(folder, 'train')
  assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('damage', ['empty', 'text', 'npy', 'cut', 'a bit'])
def test_a_corrupt_npz(folder, tmp_path, damage):
  path = tmp_path / 'train' / '_first.npz'
  np.savez_compressed(path, frames=frames_of(1)[0])
  content = bytearray(path.read_bytes())
  if damage == 'npy':
    with path.open('wb') as file:
      np.save(file, np.zeros(3))
    assert 'it is no NPZ' in error_of(folder)
    return
  content[len(content) // 2] ^= 1
  if damage != 'a bit':
    left = {'empty': b'', 'text': b'frames', 'cut': content[:-300]}
    content = left[damage]
  path.write_bytes(content)
  assert f'{path} cannot be read: ' in error_of(folder)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('damage', ['empty', 'text', 'cut'])
def test_a_corrupt_image(folder, tmp_path, suffix, damage):
  path = tmp_path / 'train' / 'a' / f'002{suffix}'
  Image.fromarray(frames_of(1)[0, 0]).save(path)
  content = {'empty': b'', 'text': b'no image', 'cut': path.read_bytes()[:-200]}
  path.write_bytes(content[damage])
  assert f'{path} cannot be read: ' in error_of(folder)


def test_images_of_two_sizes(folder, tmp_path):
  path = tmp_path / 'train' / 'a' / '003.png'
  Image.new('RGB', (9, 16)).save(path)
  message = error_of(folder)
  assert f'{path} is [16, 9, 3]' in message and '[16, 16, 3]' in message


def test_a_corrupt_scene_in_the_middle_of_training(folder, tmp_path):
  path = tmp_path / 'train' / 'c.npz'
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(ValueError) as error:
    list(itertools.islice(training(folder), 4))
  message = str(error.value)
  assert f'{path} cannot be read: ' in message and '\n' not in message


def test_folders_without_videos(folder, tmp_path):
  (tmp_path / 'train' / '_none').mkdir()
  assert '_none: a video is [0]' in error_of(folder)
  shutil.rmtree(tmp_path / 'train')
  assert f'{tmp_path / "train"} is not a folder' in error_of(folder)
  (tmp_path / 'train').mkdir()
  assert 'holds no video' in error_of(folder)
  folder.data.path = ''
  assert "data.path is ''" in error_of(folder)
