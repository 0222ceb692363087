"""The digits that one config of the dice downloads, from a server here."""

from collections.abc import Iterator
import functools
import gzip
import hashlib
import http.server
import pathlib
import shutil
import sys
import threading

import numpy as np
import pytest
from tensorflow_datasets.core.download import checksums

from cgqn_jax.simulators import dice
from tests.datasets import builds

_IMAGES, _LABELS = 'train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'
_URL = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
_CONFIG = '--config=mnist_train_tiny'


def _write_mnist(folder: pathlib.Path, classes: np.ndarray) -> np.ndarray:
  """Writes the shipped digits, shuffled, and noise after them, as MNIST is."""
  rng = np.random.default_rng(0)
  pictures = rng.integers(0, 256, (len(classes), 28, 28), np.uint8)
  for digit in range(10):
    first = np.flatnonzero(classes == digit)[:10]
    pictures[first] = dice.digits()[10 * digit : 10 * digit + 10]
  folder.mkdir(parents=True)
  for name, array in (_IMAGES, pictures), (_LABELS, classes.astype(np.uint8)):
    header = bytes([0, 0, 8, array.ndim])
    shape = np.array(array.shape, '>i4').tobytes()
    (folder / name).write_bytes(gzip.compress(header + shape + array.tobytes()))
  return pictures


def _checksums(folder: pathlib.Path, url: str) -> str:
  rows = []
  for name in _IMAGES, _LABELS:
    data = (folder / name).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    rows.append(f'{url}{name}\t{len(data)}\t{digest}\t{name}\n')
  return ''.join(rows)


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
  """Serves tmp_path/mnist: its address and what it was asked for."""
  asked = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
      asked.append(self.path)

  handler = functools.partial(Handler, directory=tmp_path / 'mnist')
  with http.server.ThreadingHTTPServer(('localhost', 0), handler) as running:
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f'http://localhost:{running.server_port}/', asked
    running.shutdown()


@pytest.fixture
def classes() -> np.ndarray:
  each = np.repeat(np.arange(10), 40)
  return np.random.default_rng(1).permutation(each)


def _copy(tmp_path: pathlib.Path, url: str) -> pathlib.Path:
  """datasets/ with small scenes, whose MNIST is tmp_path/mnist at `url`."""
  folder = shutil.copytree(builds.DATASETS, tmp_path / 'datasets')
  path = folder / 'dice' / 'dice_dataset_builder.py'
  text = path.read_text()
  for old, new in (
    (_URL, url),
    ("('mnist_train', 64, 4", "('mnist_train', 16, 1"),
    (
      "{'train': 64, 'validation': 16, 'test': 16}",
      "{'train': 4, 'validation': 1, 'test': 1}",
    ),
  ):
    assert text.count(old) == 1, old
    text = text.replace(old, new)
  path.write_text(text)
  table = _checksums(tmp_path / 'mnist', url)
  (folder / 'dice' / 'checksums.tsv').write_text(table)
  return folder / 'build.py'


def test_all_digits_are_downloaded_once(
  tmp_path: pathlib.Path, server: tuple[str, list[str]], classes: np.ndarray
):
  pictures = _write_mnist(tmp_path / 'mnist', classes)
  url, asked = server
  script, data_dir = _copy(tmp_path, url), tmp_path / 'data'
  done = builds.run(
    script, 'dice', _CONFIG, '--workers=1', f'--data_dir={data_dir}'
  )
  assert done.returncode == 0, done.stderr
  assert sorted(asked) == [f'/{_IMAGES}', f'/{_LABELS}']
  path = data_dir / 'dice' / 'mnist_train_tiny' / '1.0.0'
  rows = builds.rows(path, 'train')
  rooms = dice.sample_batch('train', range(4), style=dice.Style(range(400)))
  views = dice.render_batch(rooms, 16, 1, images=pictures)
  frames = np.asarray(views.frames).astype(int)
  assert rooms.digits.max() > 300
  for i, row in enumerate(rows):
    np.testing.assert_array_equal(row['digit_index'], rooms.digits[i])
    np.testing.assert_array_equal(row['digit_class'], classes[rooms.digits[i]])
    difference = np.abs(row['frames'] - frames[i])
    assert (difference > 1).mean() <= 1e-3, difference.max()
  shipped = dice.render_batch(dice.sample_batch('train', range(4)), 16, 1)
  assert not np.array_equal(frames, shipped.frames)


def test_other_digits_are_refused(tmp_path: pathlib.Path, classes: np.ndarray):
  folder, data_dir = tmp_path / 'mnist', tmp_path / 'data'
  _write_mnist(folder, classes)
  labels = bytes([0, 0, 8, 1, 0, 0, 1, 144]) + bytes(list((classes + 1) % 10))
  (folder / _LABELS).write_bytes(gzip.compress(labels))
  script = _copy(tmp_path, 'http://localhost:9/')  # nobody is there
  shutil.copytree(folder, data_dir / 'downloads' / 'manual')
  for command in ['dice'], ['preview', 'dice', f'--out={tmp_path}/p.png']:
    done = builds.run(script, *command, _CONFIG, f'--data_dir={data_dir}')
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith('build.py: ') and 'Traceback' not in done.stderr
    for word in _IMAGES, _LABELS, 'not MNIST', 'the 100 digits', 'delete':
      assert word in line
    assert [p.name for p in data_dir.iterdir()] == ['downloads']
    assert not (tmp_path / 'p.png').exists()


@pytest.mark.parametrize('wrong', ['checksum', 'address', 'file'])
def test_failed_downloads_get_one_line(
  tmp_path: pathlib.Path,
  server: tuple[str, list[str]],
  classes: np.ndarray,
  monkeypatch: pytest.MonkeyPatch,
  wrong: str,
):
  folder, (url, _) = tmp_path / 'mnist', server
  _write_mnist(folder, classes)
  path = folder / _LABELS
  if wrong == 'file':
    path.write_bytes(path.read_bytes()[:-9])
  (tmp_path / 'checksums').write_text(_checksums(folder, url))
  if wrong == 'checksum':
    path.write_bytes(path.read_bytes() + b'1')
  elif wrong == 'address':
    path.unlink()
  infos = checksums.load_url_infos(tmp_path / 'checksums')
  monkeypatch.setattr(builds.Dice, 'url_infos', infos)
  monkeypatch.setattr(sys.modules[builds.Dice.__module__], '_URL', url)
  builder = builds.Dice(config='mnist_train_tiny', data_dir=tmp_path / 'data')
  words = {'checksum': 'wrong checksum', 'address': '404', 'file': 'end'}
  with pytest.raises(ValueError, match=words[wrong]) as error:
    builder.fetch()
  line = str(error.value)
  assert '\n' not in line and line.startswith('no MNIST: ')
  for word in _LABELS, str(tmp_path / 'data' / 'downloads' / 'manual'):
    assert word in line
  assert not (tmp_path / 'data' / 'dice').exists()
