"""The 100 handwritten digits on the dice (paper, section 4.2).

The first 10 of each class of MNIST's training images, in MNIST's order; see
`DIGITS.md` for whose they are.
"""

import functools
import hashlib
import io
import pathlib

import numpy as np
from PIL import Image

NUM_DIGITS = 100
PER_CLASS = 10  # class = index // PER_CLASS
_SIDE = 28
_SHA256 = '1aff468cff7c06fe4bd70d37b972061d6ae9567d96e633596cf845c0dca5e429'
PATH = pathlib.Path(__file__).with_name('digits.png')


@functools.cache
def digits(path: pathlib.Path = PATH) -> np.ndarray:
  """The digits, [100, 28, 28] uint8, read-only; class = index // 10.

  Args:
    path: of a picture with ten rows of digits, one per class.

  Raises:
    ValueError: if the picture does not hold the digits it should.
  """
  try:
    picture = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert('L'))
  except OSError as error:
    raise ValueError(
      f'{path} cannot be read ({error}); install cgqn_jax again.'
    ) from error
  rows, columns = (side // _SIDE for side in picture.shape)
  cut = picture[: rows * _SIDE, : columns * _SIDE]
  cut = cut.reshape(rows, _SIDE, columns, _SIDE).swapaxes(1, 2)
  images = np.ascontiguousarray(cut.reshape(-1, _SIDE, _SIDE))
  found = hashlib.sha256(images.tobytes()).hexdigest()
  if found != _SHA256:
    raise ValueError(
      f'{path} does not hold the 100 MNIST digits: its pixels have sha256 '
      f'{found[:12]}, not {_SHA256[:12]}; install cgqn_jax again.'
    )
  images.flags.writeable = False
  return images
