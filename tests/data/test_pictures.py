"""Pictures are read as a person sees them, or refused by name."""

import io
import pathlib
import zlib

import numpy as np
from PIL import Image, ImageOps
import pytest

from cgqn_jax.data import pictures

# Every mode that Pillow can make, and those that it reads from files alone.
MODES = (
  '1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK',
  'YCbCr', 'LAB', 'HSV', 'I', 'I;16', 'I;16L', 'I;16B', 'F',
)  # fmt: skip
REFUSED = {'LAB', 'I', 'F'}
_ORIENTATION = 0x0112


def picture(mode: str = 'RGB') -> Image.Image:
  """16x16: a red or light corner at the top left on a smooth ground."""
  ramp = np.linspace(20, 200, 16)
  rgb = np.stack(np.broadcast_arrays(ramp[:, None], ramp, 90.0), -1)
  rgb[:5, :3] = 255, 0, 0
  image = Image.fromarray(np.round(rgb).astype(np.uint8))
  if mode in ('1', 'L', 'RGB'):
    return image.convert(mode)
  if mode.startswith('I'):
    deep = np.array(image.convert('L')).astype(np.uint16) * 257
    if mode == 'I':
      return Image.fromarray(deep.astype(np.int32))
    order = '>u2' if mode == 'I;16B' else '<u2'
    data = deep.astype(order).tobytes()
    return Image.frombytes(mode, image.size, data)
  if mode in ('La', 'RGBa'):
    return image.convert({'La': 'LA', 'RGBa': 'RGBA'}[mode]).convert(mode)
  if mode == 'PA':
    return image.convert('P').convert('PA')
  if mode in ('LAB', 'F', 'LA'):
    grey = image.convert('L')
    return (
      Image.merge('LAB', [grey] * 3) if mode == 'LAB' else grey.convert(mode)
    )
  return image.convert(mode)


def written(image: Image.Image, kind: str, **options) -> bytes:
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def far(one: np.ndarray, other: Image.Image) -> int:
  """The largest difference of two pictures."""
  return np.abs(one.astype(int) - np.array(other.convert('RGB'))).max()


@pytest.mark.parametrize('mode', MODES)
def test_every_mode(mode):
  image = picture(mode)
  assert image.mode == mode
  if mode in REFUSED:
    with pytest.raises(ValueError, match=f'its mode is {mode}, which does not'):
      pictures.as_seen(image)
    return
  grey = mode in ('1', 'L', 'LA', 'La') or mode.startswith('I')
  expected = picture('1' if mode == '1' else 'L' if grey else 'RGB')
  found = pictures.as_seen(image)
  assert found.dtype == np.uint8 and found.shape == (16, 16, 3)
  # A palette, and colors in 8 bits of other axes, lose a little.
  assert far(found, expected) <= (60 if mode in ('P', 'PA') else 6)


@pytest.mark.parametrize(
  ('mode', 'kind'),
  [
    ('RGB', 'PNG'), ('L', 'PNG'), ('P', 'PNG'), ('1', 'PNG'), ('RGBA', 'PNG'),
    ('LA', 'PNG'), ('I;16', 'PNG'), ('RGB', 'JPEG'), ('L', 'JPEG'),
    ('CMYK', 'JPEG'), ('RGB', 'WEBP'), ('RGB', 'BMP'), ('L', 'GIF'),
    ('RGB', 'TIFF'), ('CMYK', 'TIFF'), ('RGBA', 'TIFF'), ('I;16', 'TIFF'),
    ('RGB', 'PPM'), ('L', 'PPM'), ('I;16', 'PPM'),
  ],
)  # fmt: skip
def test_every_kind_of_file(tmp_path, mode, kind):
  path = tmp_path / 'x'
  path.write_bytes(written(picture(mode), kind))
  grey = mode in ('1', 'L', 'LA', 'I;16')
  expected = picture('1' if mode == '1' else 'L' if grey else 'RGB')
  found = pictures.read(path, path, 16)
  loss = {'JPEG': 110, 'WEBP': 110}.get(kind, 60 if mode == 'P' else 4)
  assert far(found, expected) <= loss
  # On the whole they look the same, whatever an edge lost.
  apart = found.astype(float) - np.array(expected.convert('RGB'))
  assert np.abs(apart).mean() < 20
  pictures.check(path, 16)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_every_orientation(kind, orientation):
  """Lossless, but for JPEG and WebP; the corner tells the eight apart."""
  image = picture()
  exif = Image.Exif()
  exif[_ORIENTATION] = orientation
  data = written(image, kind, exif=exif)
  # By the definition of the tag: where row 0 and column 0 are shown.
  turn = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
  }
  with Image.open(io.BytesIO(data)) as plain:
    if kind != 'TIFF':  # which Pillow turns itself
      stored = np.array(plain.convert('RGB'))
    else:
      stored = np.array(image)
  found = pictures.read(data, 'x', 16)
  np.testing.assert_array_equal(found, turn[orientation](stored))


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'PA', 'P', 'RGB', 'L', 'I;16'])
def test_transparent_pixels_are_refused(mode):
  if mode in ('RGBA', 'LA'):
    image = picture(mode)
    alpha = Image.new('L', (16, 16), 255)
    alpha.putpixel((3, 4), 254)
    image.putalpha(alpha)
    options = {}
  elif mode == 'PA':
    image = picture('P').convert('RGBA')
    image.putpixel((3, 4), (1, 2, 3, 0))
    options = {}
  else:
    image = picture(mode)
    color = image.getpixel((3, 4))
    options = {'transparency': color}
  with pytest.raises(ValueError, match='x cannot be read: .* transparent'):
    pictures.read(written(image, 'PNG', **options), 'x', 16)


def test_grey_of_16_bits_is_scaled():
  deep = np.zeros((16, 16), np.uint16)
  deep[0, :4] = 65535, 257, 32768, 128
  data = written(Image.fromarray(deep), 'PNG')
  found = pictures.read(data, 'x', 16)
  assert found[0, :4, 0].tolist() == [255, 1, 128, 0]
  assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (written(Image.new('F', (16, 16)), 'TIFF'), 'its mode is F'),
    (written(Image.new('I', (16, 16)), 'TIFF'), 'its mode is I'),
    (written(Image.new('LAB', (16, 16)), 'TIFF'), 'its mode is LAB'),
    (
      written(Image.new('I;16', (16, 16)), 'TIFF', tiffinfo={262: 0}),
      'it is grey of more than 8 bits, but not of 16 with black as 0',
    ),
    (
      written(picture('CMYK'), 'JPEG', icc_profile=b'profile'),
      'it is CMYK with a color profile',
    ),
    (written(Image.new('L', (9, 16)), 'PNG'), 'it is 9 x 16 pixels; it must '),
    (b'', 'it is no picture'),
    (b'<svg></svg>', 'it is no picture'),
  ],
)
def test_what_is_refused(data, message):
  with pytest.raises(ValueError, match='x cannot be read: ') as error:
    pictures.read(data, 'x', 16)
  assert message in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('kind', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_animations_are_refused(kind):
  other = ImageOps.invert(picture())
  data = written(picture(), kind, save_all=True, append_images=[other])
  with pytest.raises(ValueError, match='it holds 2 pictures; save each as'):
    pictures.read(data, 'x', 16)


def test_a_phone_s_second_picture_is_not_shown():
  other = ImageOps.invert(picture())
  data = written(picture(), 'MPO', save_all=True, append_images=[other])
  assert np.abs(
    pictures.read(data, 'x', 16).astype(float) - np.array(picture())
  ).mean() < 20  # fmt: skip


def test_a_decompression_bomb_is_not_decoded(tmp_path, monkeypatch):
  """A gigapixel in a few kilobytes, of which the head is enough."""
  small = bytearray(written(Image.new('1', (8, 8)), 'PNG'))
  monkeypatch.setattr(Image.Image, 'convert', None)
  for side in (5_000, 12_000, 60_000):
    data = forged(bytes(small), side)
    for asked in (None, 16):
      with pytest.raises(ValueError, match='x cannot be read: ') as error:
        pictures.read(data, 'x', asked)
      assert '\n' not in str(error.value)


def forged(png: bytes, side: int) -> bytes:
  """A PNG whose head says another size."""
  head = b'IHDR' + side.to_bytes(4, 'big') * 2 + png[24:29]
  checksum = zlib.crc32(head).to_bytes(4, 'big')
  return png[:12] + head + checksum + png[33:]


def test_a_file_that_is_too_large(tmp_path):
  path: pathlib.Path = tmp_path / 'x.png'
  path.write_bytes(written(picture(), 'PNG'))
  with path.open('r+b') as file:
    file.truncate(2**27)  # a hole
  with pytest.raises(ValueError, match='has 134,217,728 bytes; a picture may'):
    pictures.read(path, path, 16)
