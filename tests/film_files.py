"""Moving pictures as their stills, for the tests that look at them."""

import numpy as np
from PIL import Image


def read_film(path) -> np.ndarray:
  """[T, H, W, 3] uint8."""
  with Image.open(path) as film:
    stills = []
    for t in range(film.n_frames):
      film.seek(t)
      stills.append(np.asarray(film.convert('RGB')))
  return np.stack(stills)
