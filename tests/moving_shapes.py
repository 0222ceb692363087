"""Little films of one's own: a square and a disc that cross a plain ground."""

import pathlib

import numpy as np
from PIL import Image


def film(seed: int, count: int, width: int = 24, height: int = 18) -> list:
  """Pictures in flat colors, the shapes a pixel or two further in each."""
  rng = np.random.default_rng(seed)
  ground, one, other = rng.integers(0, 256, (3, 3))
  start, step = rng.uniform(4, 14, (2, 2)), rng.uniform(-1, 1, (2, 2))
  y, x = np.mgrid[:height, :width]
  pictures = []
  for t in range(count):
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = ground
    (a, b), (c, d) = start + t * step
    picture[(abs(x - a) < 3) & (abs(y - b) < 3)] = one
    picture[(x - c) ** 2 + (y - d) ** 2 < 9] = other
    pictures.append(Image.fromarray(picture))
  return pictures


def save_film(path: pathlib.Path, pictures: list) -> None:
  """In the format that the suffix says."""
  first, *others = pictures
  first.save(path, save_all=True, append_images=others, duration=100)


def twelve_gifs(folder: pathlib.Path) -> None:
  """Of 8 to 19 pictures, 24 x 18 pixels."""
  folder.mkdir()
  for n in range(12):
    save_film(folder / f'film {n}.gif', film(n, 8 + n))
