"""Any file of data is read, or refused in one line that names it."""

import io
import pathlib
import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import pytest

from cgqn_jax.data import folders, sources
from tests.data import gqn_files

CHEAP = settings(
  max_examples=40,
  deadline=None,
  database=None,
  derandomize=True,
  # A fixture that is the same for all examples.
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FRAMES, SIZE = 3, 16


@pytest.fixture(scope='module')
def config(make_config) -> ConfigDict:
  config = make_config()
  config.data.update(
    source='folder', num_frames=FRAMES, frame_size=SIZE, num_targets=1,
    min_context=1, max_context=2, context_window=2, test_context=(0,),
  )  # fmt: skip
  return config


def opened(config: ConfigDict, path: pathlib.Path) -> None:
  """The scene is whole, or the error is one line with the file's name."""
  config = ConfigDict(config)
  root = path
  while root.name != 'train':
    root = root.parent
  config.data.path = str(root.parent)
  try:
    source = sources.open_source(config, 'train')
    scenes = [source[n] for n in range(len(source))]
  except ValueError as error:
    assert '\n' not in str(error), error
    # Where nothing is left of a file, its folder is named.
    assert str(path) in str(error) or f'{path.parent} holds no' in str(error)
    return
  for scene in scenes:
    assert scene.shown.shape == (FRAMES, SIZE, SIZE, 3)
    assert scene.shown.dtype == np.uint8 and scene.views.dtype == np.float32
    assert np.isfinite(scene.views).all()


def damaged(data: bytes, cut: float, changes: list[tuple[float, int]]) -> bytes:
  """Cuts off a part, and overwrites bytes at places from 0 to 1."""
  data = bytearray(data[: round(len(data) * cut)])
  for place, value in changes:
    if data:
      data[int(place * (len(data) - 1))] = value
  return bytes(data)


cuts = st.one_of(st.just(1.0), st.floats(0, 1))
changes = st.lists(
  st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6
)
modes = st.sampled_from(
  [
    ('RGB', 'PNG'), ('P', 'PNG'), ('I;16', 'PNG'), ('RGB', 'JPEG'),
    ('CMYK', 'JPEG'), ('RGB', 'WEBP'), ('RGB', 'BMP'), ('L', 'GIF'),
    ('RGB', 'TIFF'), ('F', 'TIFF'), ('RGB', 'PPM'),
  ]
)  # fmt: skip


@CHEAP
@given(modes, cuts, changes)
@pytest.mark.filterwarnings('ignore')
def test_damaged_images(config, mode, cut, changes):
  file = io.BytesIO()
  Image.new(mode[0], (SIZE, SIZE)).save(file, mode[1])
  with tempfile.TemporaryDirectory() as folder:
    scene = pathlib.Path(folder) / 'train' / 'scene'
    scene.mkdir(parents=True)
    for n in range(FRAMES):
      Image.new('RGB', (SIZE, SIZE)).save(scene / f'{n}.png')
    path = scene / '1.png'
    path.write_bytes(damaged(file.getvalue(), cut, changes))
    opened(config, path)


@CHEAP
@given(
  st.lists(st.integers(0, 20), min_size=0, max_size=5),
  st.sampled_from(['u1', 'i2', '>f4', 'f8', 'c8', '?', 'U3', 'O', 'M8[s]']),
  st.lists(st.integers(0, 8), min_size=0, max_size=3),
  st.booleans(),
)
@pytest.mark.filterwarnings('ignore')
def test_arrays_of_any_shape_and_type(config, shape, dtype, views, packed):
  save = np.savez_compressed if packed else np.savez
  fits = np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8)
  frames = np.zeros(shape, dtype) if dtype != 'O' else np.array([{}])
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'train' / 'scene.npz'
    path.parent.mkdir()
    save(path, frames=frames)
    opened(config, path)
    save(path, frames=fits, views=np.zeros(views, dtype))
    opened(config, path)


@CHEAP
@given(cuts, changes, st.booleans())
@pytest.mark.filterwarnings('ignore')
def test_damaged_npz(config, cut, changes, packed):
  file = io.BytesIO()
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 256, (FRAMES, SIZE, SIZE, 3)).astype(np.uint8)
  save = np.savez_compressed if packed else np.savez
  save(file, frames=frames, views=np.linspace(0, 1, FRAMES)[:, None])
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'train' / 'scene.npz'
    path.parent.mkdir()
    path.write_bytes(damaged(file.getvalue(), cut, changes))
    opened(config, path)


@CHEAP
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60)))
def test_any_poses(config, text):
  config = ConfigDict(config)
  config.data.view_size = 7
  with tempfile.TemporaryDirectory() as folder:
    scene = pathlib.Path(folder) / 'train' / 'scene'
    scene.mkdir(parents=True)
    for n in range(FRAMES):
      Image.new('RGB', (SIZE, SIZE)).save(scene / f'{n}.png')
    path = scene / folders.POSES
    header = b'image,x,y,z,yaw,pitch\n0.png,'
    text = text.encode('utf-8', 'ignore') if isinstance(text, str) else text
    for before in (b'', header):
      path.write_bytes(before + text)
      opened(config, path)


@CHEAP
@given(cuts, changes)
@pytest.mark.filterwarnings('ignore')
def test_damaged_records(config, cut, changes):
  """In the data, under a checksum that fits, and in the file."""
  config = ConfigDict(config)
  config.data.update(source='gqn', view_size=7)
  record = gqn_files.scene(0, FRAMES, SIZE)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'train' / '1-of-1.tfrecord'
    whole = [record] * 2  # one is held out
    gqn_files.write(path, [damaged(record, cut, changes), *whole])
    opened(config, path)
    gqn_files.write(path, [record, *whole])
    path.write_bytes(damaged(path.read_bytes(), cut, changes))
    opened(config, path)
