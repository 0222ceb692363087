"""Videos of one's own in every format, fitted into squares."""

import gc
import sys

import numpy as np
from PIL import Image
import pytest

from cgqn_jax.data import importing, videos
from cgqn_jax.data.videos import Shape
from tests import moving_shapes

WIDTH, HEIGHT = 24, 18
PAD = Shape(24, 'pad')  # keeps every pixel of a picture, between rows of black


def film(count=5):
  """Pictures of which no two that follow each other are equal."""
  pictures = moving_shapes.film(0, count, WIDTH, HEIGHT)
  for n, picture in enumerate(pictures):
    picture.putpixel((0, 0), (40 * n, 0, 0))
  return pictures


def padded(pictures):
  frames = np.zeros((len(pictures), 24, 24, 3), np.uint8)
  frames[:, 3:21] = [np.asarray(picture) for picture in pictures]
  return frames


def read(path, shape=PAD):
  (video,) = videos.read(path, shape)
  return video


def error_of(path, shape=PAD):
  with pytest.raises(ValueError) as error:
    list(videos.read(path, shape))
  assert '\n' not in str(error.value) and str(path) in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('suffix', ['.gif', '.webp', '.png', '.apng'])
def test_animations(tmp_path, suffix):
  path, pictures = tmp_path / f'a{suffix}', film()
  first, *others = pictures
  options = {'lossless': True} if suffix == '.webp' else {}
  kind = 'PNG' if suffix == '.apng' else None
  first.save(
    path, kind, save_all=True, append_images=others, duration=100, **options
  )
  assert videos.is_scene(path)
  video = read(path)
  np.testing.assert_array_equal(video.frames, padded(pictures))
  assert video.original == (WIDTH, HEIGHT) and video.views is None


def test_pictures_that_an_animation_joins(tmp_path):
  """Pillow writes equal pictures as one that is shown for longer."""
  a, b, c = film(3)
  path = tmp_path / 'a.gif'
  moving_shapes.save_film(path, [a, b, b, b, c, a, c])
  with Image.open(path) as image:
    assert image.n_frames == 5
  frames = padded([a, b, b, b, c, a, c])
  np.testing.assert_array_equal(read(path).frames, frames)
  # A rest at the end is no motion.
  a.save(path, save_all=True, append_images=[b, c], duration=[100, 100, 3000])
  np.testing.assert_array_equal(read(path).frames, padded([a, b, c]))


def test_a_folder_of_pictures(tmp_path):
  pictures = film(12)
  for n, picture in enumerate(pictures):
    picture.save(tmp_path / f'frame_{n}.png')
  assert videos.is_scene(tmp_path)
  np.testing.assert_array_equal(read(tmp_path).frames, padded(pictures))
  some = read(tmp_path, PAD._replace(every=5)).frames
  np.testing.assert_array_equal(some, padded(pictures)[::5])
  moving_shapes.save_film(tmp_path / 'frame_20.png', film(3))
  assert 'frame_20.png holds 3 pictures' in error_of(tmp_path)


def test_poses_become_views(tmp_path):
  rows = ['image,x,y,z,yaw,pitch']
  for n, picture in enumerate(film(3)):
    picture.save(tmp_path / f'{n}.png')
    rows.append(f'{n}.png,{n},0.5,0.25,0.1,0')
  (tmp_path / 'poses.csv').write_text('\n'.join(rows))
  expected = [[n, 0.5, 0.25, 0.1, 0] for n in range(3)]
  np.testing.assert_array_equal(read(tmp_path).views, expected)


def test_arrays(tmp_path):
  frames = np.stack([np.asarray(picture) for picture in film()])
  grey = frames[..., 0]
  cases = {
    'plain': (frames, frames),
    'unit': (frames / 255, frames),
    'torch': (np.moveaxis(frames, -1, 1), frames),
    'grey': (grey, np.repeat(grey[..., None], 3, -1)),
    'one channel': (grey[..., None], np.repeat(grey[..., None], 3, -1)),
  }
  for name, (array, expected) in cases.items():
    np.save(tmp_path / f'{name}.npy', array)
    np.savez(tmp_path / f'{name}.npz', array)
    for suffix in ('.npy', '.npz'):
      video = read(tmp_path / f'{name}{suffix}')
      np.testing.assert_array_equal(video.frames[:, 3:21], expected)
  views = np.array([[0], [0.1], [0.3], [0.6], [1]])
  np.savez(tmp_path / 'views.npz', frames=frames, views=views, more=1)
  np.testing.assert_array_equal(read(tmp_path / 'views.npz').views, views)
  np.save(tmp_path / 'stack.npy', np.stack([frames, frames[::-1]]))
  one, other = videos.read(tmp_path / 'stack.npy', PAD)
  np.testing.assert_array_equal(one.frames, other.frames[::-1])
  assert one.part != other.part


@pytest.mark.parametrize(
  ('array', 'message'),
  [
    (np.zeros((5, 8, 8, 3), np.int64), 'are int64; they must be uint8, or'),
    (np.full((5, 8, 8, 3), 2.0), 'from 2 to 2; floats must be in'),
    (np.full((5, 8, 8, 3), np.nan), 'floats must be in'),
    (np.zeros((5, 8, 8, 4), np.uint8), r'are \[5, 8, 8, 4\]; they must be'),
    (np.zeros(5, np.uint8), r'are \[5\]; they must be'),
    (np.array([None]), 'cannot be read'),
  ],
)
def test_arrays_that_are_no_pictures(tmp_path, array, message):
  path = tmp_path / 'a.npy'
  np.save(path, array)
  with pytest.raises(ValueError, match=message):
    list(videos.read(path, PAD))


def test_fits(tmp_path):
  picture = np.zeros((8, 16, 3), np.uint8)
  picture[:, 4:12] = 200  # the middle square
  picture[:, :4] = 100
  crop = videos.fitted(picture, Shape(8, 'crop'))
  assert (crop == 200).all()
  pad = videos.fitted(picture, Shape(16, 'pad'))
  np.testing.assert_array_equal(pad[4:12], picture)
  assert not pad[:4].any() and not pad[12:].any()
  stretch = videos.fitted(picture, Shape(8, 'stretch'))
  assert stretch[4, [0, 3, 7], 0].tolist() == [100, 200, 0]
  # Fewer pixels are means of more, more are no others.
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::2] = 255
  assert abs(videos.fitted(stripes, Shape(8)).astype(int) - 128).max() < 20
  flat = np.full((5, 7, 3), 77, np.uint8)
  assert (videos.fitted(flat, Shape(32)) == 77).all()


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_video_file(tmp_path):
  imageio_ffmpeg = pytest.importorskip('imageio_ffmpeg')
  path = tmp_path / 'a.mp4'
  frames = [np.full((32, 48, 3), 40 * n + 20, np.uint8) for n in range(5)]
  writer = imageio_ffmpeg.write_frames(str(path), (48, 32), fps=10)
  writer.send(None)
  for frame in frames:
    writer.send(frame)
  writer.close()
  video = read(path, Shape(16))
  assert video.frames.shape == (5, 16, 16, 3) and video.original == (48, 32)
  shades = video.frames.mean((1, 2, 3))
  np.testing.assert_allclose(shades, [20, 60, 100, 140, 180], atol=6)
  path.write_bytes(path.read_bytes()[:100])
  assert 'cannot be read' in error_of(path)
  gc.collect()  # the decoder leaves pipes open, which is a warning here


def test_a_video_file_without_a_decoder(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
  path = tmp_path / 'a.mp4'
  path.write_bytes(b'film')
  assert 'pip install imageio-ffmpeg' in error_of(path)


def save_npz(path, count):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savez(path, frames=np.full((count, 8, 8, 3), count, np.uint8))


def write(source, out, num_frames=32, min_frames=2):
  return importing.write(source, out, Shape(8), num_frames, min_frames)


def names(folder):
  return {
    split: sorted(path.stem for path in (folder / split).iterdir())
    for split in importing.SPLITS
  }


def test_splits_by_hash():
  many = [f'video {n}' for n in range(1000)]
  splits = importing.split_by_hash(many)
  assert sorted(sum(splits.values(), [])) == sorted(many)
  for split in ('validation', 'test'):
    assert 70 < len(splits[split]) < 130
  # Where a name is does not depend on the others, nor on the machine.
  half = importing.split_by_hash(many[::2])
  for split, found in half.items():
    assert set(found) <= set(splits[split])
  assert splits['test'][:3] == ['video 8', 'video 9', 'video 42']
  for count in range(3, 12):
    assert all(importing.split_by_hash(many[:count]).values())


def test_splits_that_are_there(tmp_path):
  source = tmp_path / 'source'
  for n in range(20):
    save_npz(source / 'train' / f'{n}.npz', 3)
  save_npz(source / 'val' / 'a.npz', 4)
  save_npz(source / 'test' / 'b.npz', 5)
  found = write(source, tmp_path / 'all')
  assert names(tmp_path / 'all')['validation'] == ['a']
  assert names(tmp_path / 'all')['test'] == ['b']
  assert found.dataset.split_by == 'folders'
  (source / 'val' / 'a.npz').unlink()
  (source / 'val').rmdir()
  assert write(source, tmp_path / 'two').dataset.split_by == 'both'
  there = names(tmp_path / 'two')
  assert there['test'] == ['b'] and there['validation']
  train = {*there['train'], *there['validation']}
  assert train == {str(n) for n in range(20)}
  # Else some of what is to be tested would train.
  (source / 'train').rename(source / 'learn')
  with pytest.raises(ValueError, match='has a folder test, and none called'):
    write(source, tmp_path / 'none')
  assert not (tmp_path / 'none').exists()


def test_long_and_short_videos(tmp_path):
  source = tmp_path / 'source'
  for n, count in enumerate((3, 9, 10, 25)):
    save_npz(source / 'deep' / f'{n}.npz', count)
  (source / 'notes.txt').write_text('of the user')
  found = write(source, tmp_path / 'out', num_frames=10, min_frames=4)
  counts = {s.file.stem: s.count for s in found.scenes}
  assert counts == {
    'deep-1': 9, 'deep-2': 10, 'deep-3-part001': 9, 'deep-3-part002': 8,
    'deep-3-part003': 8,
  }  # fmt: skip
  assert len({s.split for s in found.scenes if 'part' in s.file.stem}) == 1
  assert [name.endswith('0.npz (3)') for name in found.short] == [True]
  assert found.others == [source / 'notes.txt']
  assert importing.read_dataset(tmp_path / 'out') == found.dataset
  assert (found.dataset.num_frames, found.dataset.shortest) == (10, 8)


def test_nothing_is_left_of_an_import_that_fails(tmp_path):
  source = tmp_path / 'source'
  for n in range(5):
    save_npz(source / f'{n}.npz', 4)
  (source / '5.npz').write_bytes(b'damaged')
  with pytest.raises(ValueError, match='5.npz cannot be read'):
    write(source, tmp_path / 'out')
  assert [path.name for path in tmp_path.iterdir()] == ['source']


def test_a_folder_that_is_a_video_and_holds_some(tmp_path):
  film(1)[0].save(tmp_path / 'cover.png')
  save_npz(tmp_path / 'deep' / 'a.npz', 4)
  with pytest.raises(ValueError, match='a folder is a video or holds videos'):
    importing.find(tmp_path)


def test_two_of_one_name(tmp_path):
  source = tmp_path / 'source'
  save_npz(source / 'a.npz', 4)
  np.save(source / 'a.npy', np.zeros((4, 8, 8), np.uint8))
  with pytest.raises(ValueError, match='would both be called a'):
    write(source, tmp_path / 'out')
