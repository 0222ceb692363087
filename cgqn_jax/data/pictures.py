"""A picture file as a person sees it: upright, opaque, 8 bits a color.

Whatever cannot be shown so without a guess is refused by name: transparent
pixels, several pictures in one file, numbers whose white the file does not
say. Sizes are read first, and nothing that is too large is decoded.
"""

from collections.abc import Iterator
import io
import os
import pathlib
import statistics
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

# Of pictures that are read, and of those that are not, although a person would
# take them for frames.
SUFFIXES = (
  '.png', '.jpg', '.jpeg', '.webp', '.bmp', '.gif', '.tif', '.tiff', '.ppm',
  '.pgm',
)  # fmt: skip
UNREAD = (
  '.avif', '.dng', '.exr', '.hdr', '.heic', '.heif', '.jp2', '.jxl', '.tga',
)  # fmt: skip
_FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'GIF', 'TIFF', 'PPM')
_ANIMATED = ('.gif', '.png', '.webp')  # of files that may hold several
_MOST_BYTES = 2**26  # of a file
_MOST_BYTES_OF_ALL = 2**30  # of a file with several
_MOST_SIDE = 4096  # pixels, where any size will do
# Pillow's modes of 8-bit colors, without and with an alpha channel, and of more
# bits.
_OPAQUE = ('1', 'L', 'P', 'RGB', 'RGBX', 'CMYK', 'YCbCr', 'HSV')
_ALPHA = ('LA', 'La', 'PA', 'RGBA', 'RGBa')
_DEEP = ('I;16', 'I;16L', 'I;16B', 'I;16N', 'I')
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def read(
  file: pathlib.Path | bytes, where: Any, side: int | None = None
) -> np.ndarray:
  """A square picture [H, H, 3] uint8.

  Args:
    file: its path or its bytes.
    where: names it in errors.
    side: H; None for any up to 4,096.

  Raises:
    ValueError: in one line, for what is no such picture.
  """
  return _opened(file, where, side, decode=True)


def check(file: pathlib.Path, side: int) -> None:
  """ValueError, as `read`, as far as the head of a file tells."""
  _opened(file, file, side, decode=False)


def is_film(file: pathlib.Path) -> bool:
  """Tells whether a file holds several pictures.

  False for what cannot be read.
  """
  if file.suffix.lower() not in _ANIMATED:
    return False
  try:
    with Image.open(file, formats=_FORMATS) as image:
      return bool(getattr(image, 'is_animated', False))
  except Exception:  # as in `_opened`
    return False


def film(file: pathlib.Path) -> Iterator[np.ndarray]:
  """All pictures of a file, one after the other: [H, W, 3] uint8.

  They are of any size up to 4,096; a still has one. One that is shown for
  twice as long as most comes twice, and so on, but for the last, at which
  animations rest: programs that write them join equal pictures.

  Raises:
    ValueError: in one line, for what is no such file.
  """
  try:
    with file.open('rb') as stream:
      with _checked(stream, _MOST_BYTES_OF_ALL) as image:
        width, height = image.size
        if not 0 < min(width, height) <= max(width, height) <= _MOST_SIDE:
          raise ValueError(
            f'it is {width:,} x {height:,} pixels; a side may have '
            f'{_MOST_SIDE:,}'
          )
        if getattr(image, 'is_animated', False) and image.format != 'MPO':
          for place, times in enumerate(_times(image)):
            image.seek(place)
            picture = as_seen(image)
            for _ in range(times):
              yield picture
        else:
          yield as_seen(image)
  except Exception as error:  # as in `_opened`
    raise _unreadable(file, error) from error


def _times(image: Image.Image) -> list[int]:
  """How often each picture of an animation comes at its usual pace."""
  durations = []
  for place in range(image.n_frames):
    image.seek(place)
    image.load()  # WebP says it then
    durations.append(image.info.get('duration') or 0)
  usual = statistics.mode(durations)
  times = [max(1, round(d / usual)) if usual else 1 for d in durations]
  return [*times[:-1], 1]


def as_seen(image: Image.Image) -> np.ndarray:
  """[H, W, 3] uint8, upright; ValueError for a mode that leaves a choice."""
  _check_mode(image)
  upright = ImageOps.exif_transpose(image)
  if upright.has_transparency_data:
    upright = _opaque(upright)
  elif upright.mode in _DEEP:
    return _shallow(np.array(upright))
  return np.array(upright.convert('RGB'))


def _check_mode(image: Image.Image) -> None:
  """ValueError unless the head of a file says what is black and what white."""
  mode = image.mode
  # In a TIFF, I may be any 32-bit integers.
  deep = mode in _DEEP and (mode != 'I' or image.format in ('PNG', 'PPM'))
  tags = getattr(image, 'tag_v2', {})
  bits = np.ravel(tags.get(_BITS, 16))
  if deep and (np.any(bits != 16) or tags.get(_PHOTOMETRIC, 1) != 1):
    raise ValueError(
      'it is grey of more than 8 bits, but not of 16 with black as 0; save it '
      'so, or with 8 bits'
    )
  if not deep and mode not in (*_OPAQUE, *_ALPHA):
    raise ValueError(
      f'its mode is {mode}, which does not say what is black and what white; '
      'save it with 8 bits a color'
    )
  if mode == 'CMYK' and image.info.get('icc_profile'):
    raise ValueError('it is CMYK with a color profile; save it as RGB')


def _opened(
  file: pathlib.Path | bytes, where: Any, side: int | None, decode: bool
) -> np.ndarray | None:
  try:
    if isinstance(file, bytes):
      return _decoded(io.BytesIO(file), side, decode)
    with file.open('rb') as stream:
      return _decoded(stream, side, decode)
  # Pillow raises anything for bytes that are damaged, struct.error, KeyError
  # and MemoryError among it.
  except Exception as error:
    raise _unreadable(where, error) from error


def _unreadable(where: Any, error: Exception) -> ValueError:
  reason = (str(error) or type(error).__name__).splitlines()[0]
  return ValueError(f'{where} cannot be read: {reason}')


def _checked(stream: BinaryIO, most: int) -> Image.Image:
  """A picture of which the head alone is read."""
  size = stream.seek(0, os.SEEK_END)
  stream.seek(0)
  if size > most:
    raise ValueError(f'it has {size:,} bytes; a picture may have {most:,}')
  # Pillow's message for other bytes names the stream, not the file.
  try:
    return Image.open(stream, formats=_FORMATS)
  except Image.UnidentifiedImageError:
    raise ValueError('it is no picture, or a damaged one') from None


def _decoded(
  stream: BinaryIO, side: int | None, decode: bool
) -> np.ndarray | None:
  with _checked(stream, _MOST_BYTES) as image:
    width, height = image.size
    asked = side if side is not None else min(max(width, 1), _MOST_SIDE)
    if (width, height) != (asked, asked):
      wanted = (
        f'square, of at most {_MOST_SIDE:,}'
        if side is None
        else f'{side} x {side}, by data.frame_size'
      )
      raise ValueError(
        f'it is {width:,} x {height:,} pixels; it must be {wanted}'
      )
    # A phone's JPEG may carry a second one (MPO), which nobody is shown.
    if getattr(image, 'is_animated', False) and image.format != 'MPO':
      raise ValueError(
        f'it holds {image.n_frames} pictures; save each as a file of its own'
      )
    _check_mode(image)
    return as_seen(image) if decode else None


def _opaque(image: Image.Image) -> Image.Image:
  """A picture with an alpha channel, or a transparent color, that hides none.

  What lies behind transparent pixels nobody knows.
  """
  if image.mode == 'La':  # Pillow goes no other way
    image = image.convert('LA')
  hidden = image.mode in _DEEP
  if not hidden:
    image = image.convert('RGBA')
    hidden = image.getchannel('A').getextrema() != (255, 255)
  if hidden:
    raise ValueError(
      'it has transparent pixels; lay the picture on a background'
    )
  return image


def _shallow(grey: np.ndarray) -> np.ndarray:
  """Grey [H, W] of 16 bits, whose white is 65,535 -> [H, W, 3] uint8."""
  unit = np.clip(grey.astype(float), 0, 65535) / 65535
  return np.repeat(np.round(255 * unit).astype(np.uint8)[..., None], 3, axis=-1)
