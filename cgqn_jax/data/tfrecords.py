"""TFRecord files, read at random and without TensorFlow.

Not the paper's: the format of the public datasets. A record is its length (8
bytes), the masked CRC-32C of that (4), the data, and the masked CRC-32C of
the data (4).
"""

import functools
import os
import pathlib

import numpy as np

_HEADER = np.dtype([('length', '<u8'), ('crc', '<u4')])  # before the data
_FOOTER = 4  # bytes after it
_BLOCK = 512  # bytes whose checksums are looked up at once


def offsets(path: pathlib.Path) -> np.ndarray:
  """Where each record begins, from their lengths alone.

  A file that has not changed is read once a process.
  """
  stat = path.stat()
  return _offsets(path, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _offsets(path: pathlib.Path, size: int, changed: int) -> np.ndarray:
  del changed
  found, headers = [], []
  position = 0
  with path.open('rb', buffering=0) as file:
    while position < size:
      found.append(position)
      header = os.pread(file.fileno(), _HEADER.itemsize, position)
      headers.append(header)
      length = int.from_bytes(header[:8], 'little')
      position += _HEADER.itemsize + length + _FOOTER
  if headers and len(headers[-1]) < _HEADER.itemsize:
    headers.pop()
  lengths = np.frombuffer(b''.join(headers), _HEADER)
  data = np.frombuffer(lengths['length'].tobytes(), np.uint8).reshape(-1, 8)
  wrong = np.flatnonzero(_masked(_of_rows(data)) != lengths['crc'])
  if len(wrong):
    raise ValueError(
      f'{path}: record {wrong[0]} is corrupt (its length); copy the file again'
    )
  if position != size:
    raise ValueError(
      f'{path}: record {len(found) - 1} is cut off; copy the file again'
    )
  return np.array(found, np.int64)


def read(path: pathlib.Path, offset: int, where: str) -> bytes:
  """The data of the record that begins at `offset`; `where` names it."""
  with path.open('rb', buffering=0) as file:
    header = os.pread(file.fileno(), _HEADER.itemsize, offset)
    length = int.from_bytes(header[:8], 'little')
    block = os.pread(file.fileno(), length + _FOOTER, offset + len(header))
  data, footer = block[:length], block[length:]
  crc = _masked(np.array([crc32c(data)], np.uint32))
  if footer != crc.astype('<u4').tobytes():
    raise ValueError(f'{where} is corrupt; copy the file again')
  return data


def _masked(crc: np.ndarray) -> np.ndarray:
  """TFRecord's checksum of a CRC-32C: rotated, plus a constant."""
  return (crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)


def crc32c(data: bytes) -> int:
  """The Castagnoli CRC of some bytes.

  Checksums are linear over XOR once the initial ones have been added to the
  first four bytes: those of a block are the XOR of a look-up for each byte
  and its place, and Horner's rule joins the blocks.
  """
  if len(data) < 4:
    return int(_of_rows(np.frombuffer(data, np.uint8)[None])[0])
  padding = -len(data) % _BLOCK  # leading zeros change nothing
  padded = np.zeros(padding + len(data), np.uint8)
  padded[padding:] = np.frombuffer(data, np.uint8)
  padded[padding : padding + 4] ^= 0xFF
  places = np.arange(_BLOCK) * 256
  found = _tables().ravel()[places + padded.reshape(-1, _BLOCK)]
  blocks = np.bitwise_xor.reduce(found, axis=1).tolist()
  shift, crc = _shift_tables(), 0
  for block in blocks:
    crc = (
      shift[0][crc & 0xFF]
      ^ shift[1][crc >> 8 & 0xFF]
      ^ shift[2][crc >> 16 & 0xFF]
      ^ shift[3][crc >> 24]
      ^ block
    )
  return crc ^ 0xFFFFFFFF


def _of_rows(data: np.ndarray) -> np.ndarray:
  """The CRC-32C of each row of [rows, few] bytes."""
  crc = np.full(len(data), 0xFFFFFFFF, np.uint32)
  for byte in data.T:
    crc = _byte_table()[(crc ^ byte) & 0xFF] ^ crc >> 8
  return ~crc


@functools.cache
def _byte_table() -> np.ndarray:
  """The checksum of each single byte, from the polynomial."""
  table = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    table = table >> 1 ^ np.where(table & 1, np.uint32(0x82F63B78), 0)
  return table.astype(np.uint32)


@functools.cache
def _tables() -> np.ndarray:
  """[_BLOCK, 256] checksum of a byte with zeros after it, to a block's end."""
  byte = _byte_table()
  rows = [byte]
  for _ in range(_BLOCK - 1):
    rows.append(byte[rows[-1] & 0xFF] ^ rows[-1] >> 8)
  return np.stack(rows[::-1])


@functools.cache
def _shift_tables() -> list[list[int]]:
  """What _BLOCK zeros make of each of the four bytes of a checksum.

  A checksum's byte i meets the byte i places on, hence the first four rows.
  """
  return _tables()[:4].tolist()
