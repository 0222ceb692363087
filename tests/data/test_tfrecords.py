"""TFRecord files: checksums as published, and an index of the records."""

import time

import numpy as np
import pytest

from cgqn_jax.data import tfrecords
from tests.data.gqn_files import plain_crc32c, write


@pytest.mark.parametrize(
  ('data', 'crc'),
  [
    # RFC 3720, B.4.
    (b'123456789', 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b'\xff' * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
  ],
)
def test_published_checksums(data, crc):
  assert tfrecords.crc32c(data) == crc == plain_crc32c(data)


def test_checksums_of_any_length():
  rng = np.random.default_rng(0)
  for length in (0, 1, 3, 4, 5, 16, 17, 511, 512, 513, 1024, 2000):
    data = rng.bytes(length)
    assert tfrecords.crc32c(data) == plain_crc32c(data), length


def test_checksums_cost_little():
  """100 KB take 0.4 ms, a loop over bytes 16 ms; 5 ms leave room."""
  data = np.random.default_rng(0).bytes(100_000)
  tfrecords.crc32c(data)
  times = []
  for _ in range(5):
    start = time.process_time()
    tfrecords.crc32c(data)
    times.append(time.process_time() - start)
  assert min(times) < 0.005


def test_an_index_follows_its_file(tmp_path):
  path = tmp_path / 'a.tfrecord'
  write(path, [b'one', b'three'])
  assert tfrecords.offsets(path).tolist() == [0, 19]
  assert tfrecords.read(path, 19, 'here') == b'three'
  write(path, [b'', b'three', b'x'])
  assert tfrecords.offsets(path).tolist() == [0, 16, 37]
  assert tfrecords.read(path, 0, 'here') == b''
