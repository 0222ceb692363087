"""Scenes of one's own: videos, images with poses, and broken files."""

from collections.abc import Iterator
import itertools
import os
import shutil
import tracemalloc
import zipfile

from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import pytest

from cgqn_jax import config as config_lib
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
  config = make_config('networks=residual', fine=0, latent_steps=1)
  config_lib.choices(config)
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
    ({'frames': np.zeros((5, 9, 16, 3), np.uint8)}, r'frames are \[5, 9, 16'),
    ({'frames': np.zeros((4, 16, 16, 3), np.uint8)}, r'a video is \[4, 16'),
    ({'frames': np.uint8(3)}, r'frames are \[\]'),
    (
      {'frames': VIDEO, 'views': np.zeros((3, 1))},
      r'views are \[3, 1\] of float64; .* \[5, V\] as there are 5 frames',
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
      r'views are \[5, 1\] of <U4; they must be numbers',
    ),
    ({'frames': np.array([None])}, 'frames are object; they must be uint8'),
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
  assert f'{path} cannot be read: it is 9 x 16 pixels' in message
  assert 'it must be 16 x 16, by data.frame_size' in message


def test_a_corrupt_scene_in_the_middle_of_training(folder, tmp_path):
  path = tmp_path / 'train' / 'c.npz'
  source = open_source(folder, 'train')
  path.write_bytes(path.read_bytes()[:-100])
  batches = batches_lib.training_batches(folder, source)
  with pytest.raises(ValueError) as error:
    list(itertools.islice(batches, 4))
  message = str(error.value)
  assert f'{path} cannot be read: ' in message and '\n' not in message


def test_folders_without_videos(folder, tmp_path):
  (tmp_path / 'train' / '_none').mkdir()
  assert '_none holds no image' in error_of(folder)
  shutil.rmtree(tmp_path / 'train')
  assert f'{tmp_path / "train"} is not a folder' in error_of(folder)
  (tmp_path / 'train').mkdir()
  assert 'holds no video' in error_of(folder)
  folder.data.path = ''
  assert "data.path is ''" in error_of(folder)


@pytest.mark.parametrize('kind', ['npz', 'images'])
def test_every_scene_is_looked_at(folder, tmp_path, kind):
  """Not only the first: in its length, its size and its views."""
  train = tmp_path / 'train'
  if kind == 'npz':
    path = train / 'c.npz'
    np.savez(path, frames=frames_of(1)[0, :4])
  else:
    path = train / 'b'
    for n in (4, 5):
      (path / f'{n:03}.png').unlink()
  assert f'{path}: a video is [4, 16, 16, 3]' in error_of(folder)
  if kind == 'npz':
    np.savez(path, frames=VIDEO, views=np.full((5, 1), 1e39))
    assert f'{path}: a view is not finite' in error_of(folder)
    np.savez(path, frames=np.zeros((5, 9, 9, 3), np.uint8))
    assert f'{path} cannot be read: frames are [5, 9, 9, 3]' in error_of(folder)
  else:
    path = path / '000.png'
    for n in (4, 5):
      shutil.copy(path, train / 'b' / f'{n:03}.png')
    Image.new('RGB', (9, 9)).save(path)
    assert f'{path} cannot be read: it is 9 x 9 pixels' in error_of(folder)
    shutil.copy(train / 'a' / '000.png', path)
    (train / 'b' / '003.png').write_bytes(b'')
    assert '003.png cannot be read: it is empty' in error_of(folder)


def test_frames_and_scenes_are_in_a_person_s_order(make_config, tmp_path):
  config = make_config()
  config.data.update(
    source='folder', path=str(tmp_path), num_frames=12, num_targets=2,
    min_context=1, max_context=3, context_window=5, test_context=(0, 4),
  )  # fmt: skip
  for scene in (1, 2, 10):
    images = tmp_path / 'train' / f'scene {scene}'
    images.mkdir(parents=True)
    for n in range(12):
      shade = Image.new('RGB', (16, 16), (10 * n, scene, 0))
      shade.save(images / (f'Frame_{n}.PNG' if n % 2 else f'frame_{n}.png'))
  source = open_source(config, 'train')
  assert [source[n].shown[0, 0, 0, 1] for n in range(3)] == [1, 2, 10]
  assert (source[1].shown[:, 0, 0, 0] == np.arange(12) * 10).all()


LEFT = ['._x', '.DS_Store', 'Thumbs.db', 'desktop.ini']
LEFT_FOLDERS = ['@eaDir', '__MACOSX', 'lost+found', '$RECYCLE.BIN']


def test_what_systems_leave_behind_is_skipped(folder, tmp_path):
  for place in tmp_path / 'train', tmp_path / 'train' / 'a':
    for name in (*LEFT, '._a.npz', '._001.png'):
      (place / name).write_bytes(b'of the system')
    for name in LEFT_FOLDERS:
      (place / name).mkdir()
      (place / name / '000.png').write_bytes(b'of the system')
  source = open_source(folder, 'train')
  assert len(source) == 3
  np.testing.assert_array_equal(source[0].shown, frames_of(1)[0, :5])


@pytest.mark.parametrize('name', ['d.npy', 'd.mp4', '000.png', 'd.zip'])
def test_what_looks_like_a_scene_and_is_none(folder, tmp_path, name):
  path = tmp_path / 'train' / name
  path.write_bytes(b'something')
  assert f'{path} is no scene' in error_of(folder)


def test_a_kind_of_image_that_is_not_read(folder, tmp_path):
  path = tmp_path / 'train' / 'a' / '006.heic'
  path.write_bytes(b'something')
  assert f'{path}: .heic is not read; save it as one of .png' in error_of(
    folder
  )


@pytest.mark.parametrize(
  ('times', 'message'),
  [
    (1.6e9 + np.arange(5) / 30, '5 views differ, but as float32, .* only 1 '),
    (1e6 + np.arange(5) / 30, '5 views differ, but as float32, .* only '),
    (np.full(5, 0.5), r'all 5 views are equal \(0.5 to 0.5\)'),
    (np.full(5, np.nan), 'a view is not finite'),
  ],
)
def test_views_that_do_not_tell_frames_apart(folder, tmp_path, times, message):
  path = tmp_path / 'train' / 'c.npz'
  np.savez(path, frames=VIDEO, views=times[:, None])
  with pytest.raises(ValueError, match=message) as error:
    open_source(folder, 'train')
  assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('large', [7e6, 4.0, 1e-5])
def test_views_of_another_scale(folder, tmp_path, capsys, large):
  path = tmp_path / 'train' / 'c.npz'
  views = np.linspace(0, large, 5)[:, None]
  np.savez(path, frames=VIDEO, views=views)
  open_source(folder, 'train')
  said = capsys.readouterr().err
  assert said.count('\n') == 1 and f'note: {path}: views go from 0' in said
  np.savez(path, frames=VIDEO, views=views / large)
  open_source(folder, 'train')
  assert not capsys.readouterr().err


def test_poses_far_from_the_origin(posed, tmp_path):
  path = tmp_path / 'train' / 'a' / 'poses.csv'
  rows = [f'{n:03}.png,{5e8 + n / 9},0,0,0,0' for n in range(6)]
  path.write_text('\n'.join([HEADER, *rows]))
  assert 'views differ, but as float32' in error_of(posed)


def bomb(path, shape, dtype='|u1', name='frames.npy') -> None:
  """An NPZ whose header promises an array that is not there."""
  header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n"
  head = b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little')
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr(name, head + header.encode())


@pytest.mark.parametrize(
  ('shape', 'dtype', 'message'),
  [
    ((2**40, 16, 16, 3), '|u1', 'an array may have 1,073,741,824'),
    ((5, 2**20, 2**20, 3), '|u1', 'an array may have 1,073,741,824'),
    ((5, 16, 16, 3), '|O', 'frames are object'),
    ((5, 16, 16, 3), '|u1', 'it is cut off'),
    ((-5, -16, 16, 3), '|u1', 'frames are'),
  ],
)
def test_an_npz_that_promises_too_much(folder, tmp_path, shape, dtype, message):
  path = tmp_path / 'train' / '_first.npz'
  bomb(path, shape, dtype)
  found = error_of(folder)
  assert f'{path} cannot be read: ' in found and message in found


def test_an_npz_that_unpacks_to_much(folder, tmp_path):
  """A megabyte of zeros a kilobyte: only the frames that count are kept."""
  path = tmp_path / 'train' / '_first.npz'
  frames = np.zeros((40_000, 16, 16, 3), np.uint8)
  np.savez_compressed(path, frames=frames)
  assert path.stat().st_size < frames.nbytes / 500
  tracemalloc.start()
  assert open_source(folder, 'train')[0].shown.shape == (5, 16, 16, 3)
  most = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert most < frames.nbytes / 4


def test_names_in_archives_and_pickles_are_harmless(folder, tmp_path):
  path = tmp_path / 'train' / 'c.npz'
  arrays = {'frames': VIDEO, '../../out': VIDEO}
  np.savez(path, **arrays, other=np.array([Harmful(tmp_path)], object))
  files = sorted(tmp_path.rglob('*'))
  assert open_source(folder, 'train')[2].shown.shape == VIDEO.shape
  np.savez(path, frames=np.array([Harmful(tmp_path)], object))
  assert 'frames are object' in error_of(folder)
  assert sorted(tmp_path.rglob('*')) == files


class Harmful:
  """Its pickle makes a folder when it is read."""

  def __init__(self, folder) -> None:
    self.folder = folder

  def __reduce__(self) -> tuple:
    return os.mkdir, (str(self.folder / 'harm'),)


def test_arrays_in_another_order(folder, tmp_path):
  """Of Fortran, and of another machine."""
  video = frames_of(1)[0]
  views = np.linspace(0, 1, 6).astype('>f4')[:, None]
  path = tmp_path / 'train' / 'c.npz'
  np.savez(path, frames=np.asfortranarray(video), views=views)
  scene = open_source(folder, 'train')[2]
  np.testing.assert_array_equal(scene.shown, video[:5])
  np.testing.assert_array_equal(scene.views, views[:5].astype(np.float32))


def unequal(folder, tmp_path) -> ConfigDict:
  """Three more scenes of 3, 4 and 5 frames; the context is frame 0."""
  folder.data.test_context = (0,)
  for split in sources.SPLITS:
    for count in (3, 4, 5):
      path = tmp_path / split / f'long {count}.npz'
      np.savez(path, frames=frames_of(3)[count - 3, :count])
  return folder


def test_scenes_of_unequal_lengths_in_training(folder, tmp_path):
  config = unequal(folder, tmp_path)
  config.data.num_targets = 5
  for split in sources.SPLITS:
    (tmp_path / split / 'long 3.npz').unlink()
    (tmp_path / split / 'long 4.npz').unlink()
  with pytest.raises(ValueError, match=r'asks for 5 at least'):
    np.savez(tmp_path / 'train' / 'short.npz', frames=VIDEO[:4])
    open_source(config, 'train')
  (tmp_path / 'train' / 'short.npz').unlink()
  config.data.num_targets = 2
  for split in sources.SPLITS:
    np.savez(tmp_path / split / 'long 3.npz', frames=frames_of(3)[0, :3])
    np.savez(tmp_path / split / 'long 4.npz', frames=frames_of(3)[1, :4])
  config.data.any_context_share = 0.5
  source = open_source(config, 'train')
  lengths = [len(source[i].views) for i in range(len(source))]
  assert sorted(lengths) == [3, 4, 5, 5, 5, 5]
  seen = set()
  for batch in itertools.islice(training(config), 30):
    assert batch.target_mask.shape == (4, 2) and batch.target_mask.all()
    for part, mask in (
      (batch.context, batch.context_mask),
      (batch.target, batch.target_mask),
    ):
      for b, example_id in enumerate(batch.example_id):
        # Time passes as fast in all, and nothing beyond the end is shown.
        index = np.round(part.views[b, mask[b], 0] * 4).astype(int)
        shown = source[int(example_id)].shown
        assert (index < lengths[example_id]).all()
        np.testing.assert_array_equal(part.frames[b][mask[b]], shown[index])
        seen |= {(lengths[example_id], int(i)) for i in index}
  assert seen == {(n, i) for n in (3, 4, 5) for i in range(n)}


@pytest.mark.parametrize('num_targets', [None, 2, 3])
def test_scenes_of_unequal_lengths_in_tables(folder, tmp_path, num_targets):
  config = unequal(folder, tmp_path)
  source = open_source(config, 'test')
  (batch,) = batches_lib.test_batches(config, source, 6, 6, num_targets)
  slots = num_targets or 4
  assert batch.target_mask.shape == (6, slots)
  for b in range(6):
    count = len(source[b].views)
    assert batch.target_mask[b].sum() == min(count - 1, slots)
    index = np.round(batch.target.views[b, :, 0] * 4).astype(int)
    index = index[batch.target_mask[b]]
    assert (index >= 1).all() and (index < count).all()
    np.testing.assert_array_equal(
      batch.target.frames[b][batch.target_mask[b]], source[b].shown[index]
    )


def test_lengths_that_do_not_fit(folder, tmp_path, capsys):
  folder.data.num_frames = 6
  for path in (tmp_path / 'train').glob('[ab]/005.png'):
    path.unlink()
  np.savez(tmp_path / 'train' / 'c.npz', frames=VIDEO)
  open_source(folder, 'train')
  line = capsys.readouterr().err
  assert line.count('\n') == 1 and 'has 5 frames; what comes after' in line
  folder.data.num_frames = 5
  folder.data.update(
    protocol='sequence', max_context=2, test_context=(0, 1), num_targets=3
  )
  np.savez(tmp_path / 'train' / 'c.npz', frames=VIDEO[:4])
  assert "'sequence' with its numbers" in error_of(folder)


def test_frames_that_a_scene_has_not(folder, tmp_path):
  source = open_source(unequal(folder, tmp_path), 'test')
  examples = batches_lib.scenes(source, range(6))
  views = batches_lib.Views(np.array([0]), np.array([4]))
  with pytest.raises(ValueError, match='has no frame 4; it has 0 to 2'):
    batches_lib.make_batch(source, examples, [views] * 6)
  with pytest.raises(ValueError, match='name some that are equally long'):
    batches_lib.whole_scenes(source, range(6))
