"""The public GQN datasets: files written as they are released, and broken."""

import io
import pathlib

from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import pytest

from cgqn_jax import config as config_lib
from cgqn_jax.data import batches, gqn_records, protocols, sources
from cgqn_jax.data.sources import open_source
from cgqn_jax.models.build import build
from cgqn_jax.models.residual import ResidualNetworks
from configs import gqn_rooms
from tests.data import gqn_files
from tests.data.gqn_files import (
  assert_shows,
  example,
  framed,
  jpeg,
  picture,
  pose,
  scene,
  write,
  write_split,
)


def configured(path: pathlib.Path, **settings) -> ConfigDict:
  config = gqn_rooms.get_config('rooms=rooms_ring_camera')
  config.data.update(
    path=str(path), num_frames=3, frame_size=16, test_context=(0, 1),
    max_context=2, context_window=3, num_targets=1,
  )  # fmt: skip
  config.data.update(settings)
  config.batch_size = 4
  return config


@pytest.fixture(scope='module')
def released(tmp_path_factory) -> pathlib.Path:
  """Train: 11 scenes in three files, one of them empty; test: 3 in one."""
  path = tmp_path_factory.mktemp('released')
  write_split(path / 'train', [5, 0, 6], views=4, size=16)
  write_split(path / 'test', [3], views=4, size=16)
  (path / 'train' / 'README.md').write_text('no record')
  return path


def error_of(config: ConfigDict, split: str = 'train') -> str:
  with pytest.raises(ValueError) as error:
    sources.open_source(config, split)
  assert '\n' not in str(error.value)
  return str(error.value)


def test_scenes_and_cameras(released):
  source = sources.open_source(configured(released), 'test')
  assert len(source) == 3
  for number in range(3):
    video = source[number]
    assert video.shown.shape == (3, 16, 16, 3) and video.fixed == ()
    assert video.example_id == number and video.face_pixels is None
    for view in range(3):
      assert_shows(video.shown[view], number, view)
    x, y, z, yaw, pitch = pose(number, 3).T
    expected = [x, y, z]
    expected += [np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)]
    np.testing.assert_allclose(video.views, np.stack(expected, -1), atol=1e-6)
    assert video.views.dtype == np.float32


def test_validation_is_the_end_of_train(released):
  """11 scenes: the last tenth, rounded up, is 2."""
  config = configured(released)
  train, validation = (
    sources.open_source(config, split) for split in ('train', 'validation')
  )
  assert len(train) == 9 and len(validation) == 2
  # The pose's x is the scene's number, over the files and the empty one.
  numbers = [train[i].views[0, 0] for i in range(9)]
  numbers += [validation[i].views[0, 0] for i in range(2)]
  assert numbers == list(range(11))
  assert validation[0].example_id == 0


def test_no_more_than_a_thousand_are_held_out(released, monkeypatch):
  monkeypatch.setattr(gqn_records, 'HELD_OUT', 1)
  config = configured(released)
  assert len(sources.open_source(config, 'train')) == 10
  assert len(sources.open_source(config, 'validation')) == 1


def test_tiny_is_the_first_file(released):
  config = configured(released, tiny=True)
  assert len(sources.open_source(config, 'train')) == 4
  assert sources.open_source(config, 'validation')[0].views[0, 0] == 4


def test_batches(released):
  config = configured(released)
  protocols.check(config)
  batch = next(batches.training_batches(config, open_source(config, 'train')))
  assert batch.target.frames.shape == (4, 1, 16, 16, 3)
  assert batch.context.views.shape == (4, 2, 7)
  for b, number in enumerate(batch.example_id):
    assert batch.target.views[b, 0, 0] == number
    view = int(np.round(batch.target.views[b, 0, 1] * 10))
    assert_shows(batch.target.frames[b, 0], int(number), view)
  whole = batches.whole_scenes(open_source(config, 'test'), [2, 0])
  assert whole.views[:, 0, 0].tolist() == [2, 0]


@pytest.mark.slow
def test_residual_networks_train_on_it(released, make_config, update_once):
  config = make_config('networks=residual', fine=0, latent_steps=1)
  config_lib.choices(config)
  config.data = configured(
    released, num_frames=4, context_window=4, max_context=3, num_targets=2
  ).data
  metrics = update_once(config)
  assert metrics['skipped'] == 0 and np.isfinite(metrics['loss'])
  assert metrics['kl'] > 1 and 0.01 < metrics['mse'] < 10


def test_residual_networks_of_a_config():
  model = build(gqn_rooms.get_config('networks=residual'))
  assert isinstance(model.networks, ResidualNetworks)
  assert model.networks.view_size == 7


@pytest.mark.parametrize('name', gqn_rooms.ROOMS)
def test_every_release(tmp_path, name):
  """Its own number and size of views, and the config's size of 64."""
  config = gqn_rooms.get_config(f'rooms={name}')
  protocols.check(config)
  num_frames, _ = gqn_rooms.ROOMS[name]
  sizes = {'rooms_free_camera_with_object_rotations': 128, 'mazes': 84}
  size = sizes.get(name, 64)
  released = 300 if name == 'mazes' else num_frames
  one = jpeg(picture(3, 2, size))
  record = example([one] * released, pose(0, released).ravel())
  write(tmp_path / 'test' / '1-of-1.tfrecord', [record])
  config.data.path = str(tmp_path)
  video = sources.open_source(config, 'test')[0]
  assert video.shown.shape == (num_frames, 64, 64, 3)
  assert video.views.shape == (num_frames, 7)
  # The ramp goes from the first pixel's center to the last one's.
  place = (np.arange(64) + 0.5) / 64 * size - 0.5
  ramp = np.clip(place, 0, size - 1) / (size - 1) * 100
  assert np.abs(video.shown[0, :, 5, 0] - (ramp + 30)).max() <= 4
  assert np.abs(video.shown[0, 5, :, 1] - (ramp + 24)).max() <= 4


def test_resizing_takes_the_mean_of_areas():
  frame = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
  halves = frame.reshape(64, 2, 64, 2, 3).mean((1, 3))
  np.testing.assert_array_equal(
    gqn_records.resize(frame, 64), np.floor(halves + 0.5)
  )
  # 84 -> 64 over the least common multiple, 21 x 64 = 16 x 84.
  frame = frame[:84, :84]
  fine = frame.repeat(16, 0).repeat(16, 1).reshape(64, 21, 64, 21, 3)
  found = gqn_records.resize(frame, 64)
  assert found.dtype == np.uint8 and found.std() > 40
  assert np.abs(found - fine.mean((1, 3))).max() <= 0.5 + 1e-6
  assert gqn_records.resize(frame, 84) is frame


@pytest.mark.parametrize(
  ('place', 'message'),
  [
    (3, 'record 1 is corrupt (its length)'),
    (12 + 40, 'record 1 is corrupt'),
    (-2, 'record 1 is corrupt'),
  ],
)
def test_a_corrupt_record(released, tmp_path, place, message):
  """One bit is enough, in the length, the data or the checksum."""
  records = [framed(scene(n, 4, 16)) for n in range(3)]
  damaged = bytearray(records[1])
  damaged[place] ^= 1
  path = tmp_path / 'test' / '1-of-1.tfrecord'
  path.parent.mkdir()
  path.write_bytes(records[0] + damaged + records[2])
  with pytest.raises(ValueError) as error:
    batches.whole_scenes(open_source(configured(tmp_path), 'test'), [0, 2, 1])
  assert message in str(error.value) and f'{path}: ' in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('left', [-1, -200, 5, 40])
def test_a_file_that_is_cut_off(tmp_path, left):
  records = [framed(scene(n, 4, 16)) for n in range(2)]
  path = tmp_path / 'train' / '1-of-1.tfrecord'
  path.parent.mkdir()
  path.write_bytes(records[0] + records[1][:left])
  assert f'{path}: record 1 is cut off' in error_of(configured(tmp_path))


def frames_of(count: int) -> list[bytes]:
  return [jpeg(picture(0, view, 16)) for view in range(count)]


@pytest.mark.parametrize(
  ('record', 'message'),
  [
    (b'\xff' * 30, 'record 0 is no tf.train.Example'),
    (example([], [1.0] * 5), 'record 0 has no frames'),
    (example(frames_of(2), [0.0] * 10), '2 frames; data.num_frames asks for 3'),
    (
      example(frames_of(3), [0.0] * 21),
      '21 camera numbers for 3 frames; a camera must be 5 numbers: x, y, z, '
      'yaw, pitch',
    ),
    (example(frames_of(3), []), '0 camera numbers for 3 frames'),
    (
      example(frames_of(3), [np.nan] + [0.0] * 14),
      'record 0: a view is not finite',
    ),
    (
      example([*frames_of(2), b'no picture'], [0.0] * 15),
      'record 0, frame 2 cannot be read: ',
    ),
    (
      example([*frames_of(2), frames_of(1)[0][:-300]], [0.0] * 15),
      'record 0, frame 2 cannot be read: ',
    ),
    (
      example([jpeg(np.zeros((16, 9, 3), np.uint8))] * 3, [0.0] * 15),
      'frame 0 cannot be read: it is 9 x 16 pixels; it must be square',
    ),
  ],
)
def test_records_of_another_kind(tmp_path, record, message):
  """The first scene is read when the source is opened."""
  path = tmp_path / 'test' / '1-of-1.tfrecord'
  write(path, [record])
  found = error_of(configured(tmp_path), 'test')
  assert message in found and str(path) in found


def test_cameras_of_another_width(released):
  message = error_of(configured(released, view_size=5))
  assert 'views are [3, 7]' in message and 'ask for [3, 5]' in message


def test_folders_without_scenes(tmp_path):
  config = configured(tmp_path)
  assert f'{tmp_path / "train"} is not a folder' in error_of(config)
  (tmp_path / 'train').mkdir()
  assert '0 scenes in 0 *.tfrecord files' in error_of(config)
  write_split(tmp_path / 'train', [1], views=3, size=16)
  assert '1 scenes in 1 *.tfrecord files, 1 of them held' in error_of(config)
  config.data.path = ''
  assert "data.path is ''" in error_of(config)


def test_config_arguments():
  config = gqn_rooms.get_config('preset=small,rooms=mazes,model=gqn')
  assert config.model.name == 'gqn' and config.data.config == 'mazes'
  assert config.data.frame_size == 32 and config.model.draw_steps == 4
  config = gqn_rooms.get_config()
  assert config.data.config == 'shepard_metzler_5'
  assert config.model.draw_steps == 6 and config.model.nf_to_hidden == 128
  with pytest.raises(ValueError, match="rooms is 'chess'; it must be one of"):
    gqn_rooms.get_config('rooms=chess')


def test_an_index_follows_its_file(tmp_path):
  path = tmp_path / 'a.tfrecord'
  gqn_files.write(path, [b'one', b'three'])
  assert gqn_records.record_offsets(path).tolist() == [0, 19]
  assert gqn_records.read_record(path, 19, 'here') == b'three'
  gqn_files.write(path, [b'', b'three', b'x'])
  assert gqn_records.record_offsets(path).tolist() == [0, 16, 37]
  assert gqn_records.read_record(path, 0, 'here') == b''


def test_what_systems_leave_behind_is_skipped(tmp_path):
  write_split(tmp_path / 'test', [2], views=3, size=16)
  for name in ('._1-of-1.tfrecord', '.hidden.tfrecord', 'Thumbs.db'):
    (tmp_path / 'test' / name).write_bytes(b'of the system')
  assert len(sources.open_source(configured(tmp_path), 'test')) == 2


def test_a_picture_that_is_too_large(tmp_path):
  """Its head says so; it is not decoded."""
  large = io.BytesIO()
  Image.new('1', (5000, 5000)).save(large, 'PNG')
  path = tmp_path / 'test' / '1-of-1.tfrecord'
  record = example([large.getvalue()] * 3, pose(0, 3).ravel())
  write(path, [record])
  message = error_of(configured(tmp_path), 'test')
  assert f'{path}: record 0, frame 0 cannot be read: ' in message
  assert 'it is 5,000 x 5,000 pixels; it must be square, of at most' in message


def test_cameras_that_are_all_equal(tmp_path):
  path = tmp_path / 'test' / '1-of-1.tfrecord'
  poses = pose(0, 3)
  poses[:] = poses[0]
  write(path, [example(frames_of(3), poses.ravel())])
  assert f'{path}: record 0: all 3 views are equal' in error_of(
    configured(tmp_path), 'test'
  )
