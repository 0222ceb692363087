"""The public GQN datasets (Eslami et al., 2018), read without TensorFlow.

A scene is a tf.train.Example of `frames`, S JPEGs, and `cameras`, S x 5
floats: x, y, z, yaw, pitch (radians). The names and sizes of the datasets are
in configs/gqn_rooms.py. Files are TFRecords: of each record its length (8
bytes), the masked CRC-32C of that (4), the data, and its masked CRC-32C (4).
"""

from concurrent import futures
import functools
import os
import pathlib

from google.protobuf import message
import google_crc32c
from ml_collections import ConfigDict
import numpy as np
from tensorflow_datasets.proto import tf_example_generated_pb2 as protos

from cgqn_jax.data import pictures
from cgqn_jax.data.examples import (
  Example,
  Source,
  cameras,
  check_frames,
  checked_views,
  note_scale,
)
from cgqn_jax.files import is_left_behind

# Scenes at the end of train that are held out for validation, if that is no
# more than a tenth of them: the release has only train and test.
HELD_OUT = 1000
_POSE = 5  # x, y, z, yaw, pitch
_HEADER, _FOOTER = 12, 4  # bytes before and after a record's data
_MOST_BYTES = 2**30  # of a record


class GqnSource(Source):
  """The scenes of <data.path>/train and <data.path>/test, any *.tfrecord.

  The split validation is the last 1,000 scenes of train in the order of file
  names, or its last tenth if that is fewer; train is what is left. A few of a
  dataset's files are a dataset, too; with data.tiny only the first of a
  folder is read. Of each scene the first `data.num_frames` views are used,
  resized to `data.frame_size` by the mean over each pixel's area.
  """

  def __init__(self, config: ConfigDict, split: str):
    self.split = split
    name = 'test' if split == 'test' else 'train'
    folder = pathlib.Path(config.data.path).expanduser() / name
    if not config.data.path or not folder.is_dir():
      raise ValueError(
        f'data.path is {config.data.path!r}: {folder} is not a folder; '
        "source='gqn' reads <path>/train and <path>/test, as a public GQN "
        'dataset is released'
      )
    self._files = sorted(
      path for path in folder.glob('*.tfrecord') if not is_left_behind(path)
    )
    if config.data.tiny:
      del self._files[1:]
    self._config = config
    with futures.ThreadPoolExecutor(16) as pool:  # hides a disk's latency
      self._offsets = list(pool.map(record_offsets, self._files))
    self._ends = np.cumsum([len(o) for o in self._offsets], dtype=int)
    count = int(self._ends[-1]) if self._files else 0
    held_out = 0 if name == 'test' else min(HELD_OUT, -(-count // 10))
    self._scenes = range(count - held_out)
    if split == 'validation':
      self._scenes = range(count - held_out, count)
    if not self._scenes:
      raise ValueError(
        f'{folder} holds no scene for {split}: {count} scenes in '
        f'{len(self._files)} *.tfrecord files, {held_out} of them held out '
        'for validation'
      )
    ends = sorted({0, len(self) - 1})
    note_scale([self[n].views for n in ends], [folder] * len(ends))

  def __len__(self) -> int:
    return len(self._scenes)

  def __getitem__(self, index: int) -> Example:
    scene = self._scenes[index]
    file = int(np.searchsorted(self._ends, scene, side='right'))
    record = scene - int(self._ends[file]) + len(self._offsets[file])
    where = f'{self._files[file]}: record {record}'
    data = read_record(self._files[file], self._offsets[file][record], where)
    jpegs, poses = _parse(data, where)
    wanted = self._config.data.num_frames
    if len(jpegs) < wanted:
      raise ValueError(
        f'{where} has {len(jpegs)} frames; data.num_frames asks for {wanted}'
      )
    size = self._config.data.frame_size
    frames = np.stack(
      [
        resize(pictures.read(jpeg, f'{where}, frame {n}'), size)
        for n, jpeg in enumerate(jpegs[:wanted])
      ]
    )
    check_frames(self._config, frames.shape, where)
    views = checked_views(self._config, cameras(poses[:wanted]), where)
    return Example(frames, (), views, index)


def resize(frame: np.ndarray, size: int) -> np.ndarray:
  """[H, W, 3] uint8 -> [size, size, 3], each pixel the mean of its area."""
  if frame.shape[:2] == (size, size):
    return frame
  mean = _shrink(_shrink(frame, size).swapaxes(0, 1), size).swapaxes(0, 1)
  return np.floor(mean + 0.5).astype(np.uint8)


def _shrink(rows: np.ndarray, size: int) -> np.ndarray:
  """The means of `size` equal parts of the first axis, pixels cut if need be.

  Differences of the integral; a product with a matrix would start BLAS's
  threads in a loader.
  """
  edges = np.arange(size + 1) * (len(rows) / size)
  whole = np.minimum(edges.astype(int), len(rows) - 1)
  sums = np.cumsum(rows, axis=0, dtype=float) - rows
  integral = sums[whole] + (edges - whole)[:, None, None] * rows[whole]
  return np.diff(integral, axis=0) * (size / len(rows))


def _parse(data: bytes, where: str) -> tuple[list[bytes], np.ndarray]:
  """A record's data -> its JPEGs and their poses [S, 5]."""
  try:
    example = protos.Example.FromString(data)
  except message.DecodeError:
    raise ValueError(f'{where} is no tf.train.Example') from None
  feature = example.features.feature
  jpegs = list(feature['frames'].bytes_list.value)
  numbers = np.array(feature['cameras'].float_list.value)
  if not jpegs:
    raise ValueError(
      f'{where} has no frames: a GQN record holds JPEGs called frames'
    )
  if len(numbers) != _POSE * len(jpegs):
    raise ValueError(
      f'{where} has {len(numbers)} camera numbers for {len(jpegs)} frames; '
      f'a camera must be {_POSE} numbers: x, y, z, yaw, pitch'
    )
  return jpegs, numbers.reshape(-1, _POSE)


def record_offsets(path: pathlib.Path) -> np.ndarray:
  """Where each record begins, from their lengths alone.

  A file that has not changed is read once a process.
  """
  stat = path.stat()
  return _offsets(path, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _offsets(path: pathlib.Path, size: int, changed: int) -> np.ndarray:
  del changed
  offsets, position = [], 0
  with path.open('rb', buffering=0) as file:
    while position < size:
      header = os.pread(file.fileno(), _HEADER, position)
      whole = len(header) == _HEADER
      if whole and header[8:] != _checksum(header[:8]):
        raise ValueError(
          f'{path}: record {len(offsets)} is corrupt (its length); copy the '
          'file again'
        )
      offsets.append(position)
      length = int.from_bytes(header[:8], 'little')
      position += _HEADER + length + _FOOTER
  if position != size:
    raise ValueError(
      f'{path}: record {len(offsets) - 1} is cut off; copy the file again'
    )
  return np.array(offsets, np.int64)


def read_record(path: pathlib.Path, offset: int, where: str) -> bytes:
  """The data of the record that begins at `offset`; `where` names it."""
  with path.open('rb', buffering=0) as file:
    header = os.pread(file.fileno(), _HEADER, offset)
    length = int.from_bytes(header[:8], 'little')
    if header[8:] != _checksum(header[:8]):  # the file is another one by now
      raise ValueError(f'{where} is corrupt; copy the file again')
    if length > _MOST_BYTES:
      raise ValueError(
        f'{where} has {length:,} bytes; a record may have {_MOST_BYTES:,}'
      )
    block = os.pread(file.fileno(), length + _FOOTER, offset + len(header))
  data, footer = block[:length], block[length:]
  if footer != _checksum(data):
    raise ValueError(f'{where} is corrupt; copy the file again')
  return data


def _checksum(data: bytes) -> bytes:
  """TFRecord's: the CRC-32C, rotated, plus a constant."""
  crc = google_crc32c.value(data)
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  return masked.to_bytes(4, 'little')
