"""Writes files as the public GQN datasets are released; a helper of tests.

It shares nothing with the reader but the definition of the format.
"""

import io
import pathlib
import struct

import numpy as np
from PIL import Image
from tensorflow_datasets.proto import tf_example_generated_pb2 as protos


def plain_crc32c(data: bytes) -> int:
  """CRC-32C, bit by bit from the polynomial."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
  crc = plain_crc32c(data)
  crc = ((crc >> 15) | (crc << 17)) + 0xA282EAD8
  return struct.pack('<I', crc & 0xFFFFFFFF)


def framed(data: bytes) -> bytes:
  """A TFRecord."""
  length = struct.pack('<Q', len(data))
  return length + masked(length) + data + masked(data)


def picture(scene: int, view: int, size: int) -> np.ndarray:
  """[size, size, 3]: smooth, so that JPEG keeps it, and another each time."""
  ramp = np.linspace(0, 100, size)
  red = ramp[:, None] + np.full(size, 10.0 * scene)
  green = ramp[None] + np.full((size, 1), 12.0 * view)
  return np.stack([red, green, red / 2 + green / 2], -1).astype(np.uint8)


def assert_shows(frame: np.ndarray, scene: int, view: int) -> None:
  """But for JPEG's errors; the next scene or view differs by 5 or 6."""
  difference = frame - picture(scene, view, len(frame)).astype(int)
  assert np.abs(difference).mean() < 3 and np.abs(difference).max() < 12


def jpeg(frame: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(frame).save(file, 'JPEG', quality=95)
  return file.getvalue()


def pose(scene: int, views: int) -> np.ndarray:
  """[views, 5] x, y, z, yaw, pitch."""
  n = np.arange(views)
  columns = [scene + 0.0 * n, 0.1 * n, 0.5 + 0 * n, 0.3 * n - 1, -0.1 * n]
  return np.stack(columns, -1)


def example(jpegs, numbers) -> bytes:
  message = protos.Example()
  message.features.feature['frames'].bytes_list.value.extend(jpegs)
  message.features.feature['cameras'].float_list.value.extend(numbers)
  # Of a map, whose order is otherwise another one in every process: what the
  # bytes name (a test of pytest-xdist) must be the same in all.
  return message.SerializeToString(deterministic=True)


def scene(number: int, views: int, size: int) -> bytes:
  jpegs = [jpeg(picture(number, view, size)) for view in range(views)]
  return example(jpegs, pose(number, views).ravel())


def write(path: pathlib.Path, records) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(b''.join(map(framed, records)))


def write_split(folder: pathlib.Path, per_file, views: int, size: int) -> None:
  """Files of that many scenes each, numbered on."""
  first = 0
  for n, count in enumerate(per_file):
    name = f'{n + 1:0{len(str(len(per_file)))}}-of-{len(per_file)}.tfrecord'
    numbers = range(first, first + count)
    write(folder / name, [scene(i, views, size) for i in numbers])
    first += count
