"""Moving pictures in files: GIF, APNG, WebP and MP4, as the suffix says.

APNG and WebP keep every color. A GIF has 256 in all; they are chosen over all
times together, so that what stands still does not flicker. MP4 is H.264 for
players and slides; it needs imageio-ffmpeg, an extra.
"""

import fractions
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from cgqn_jax import files

SUFFIXES = ('.gif', '.apng', '.webp', '.mp4')
_COLORS = 256  # in a GIF
_ROUNDS = 2  # of moving the colors of a GIF to the means of what they stand for
_PAPER = 255


def check_fps(fps: float) -> float:
  """Returns frames per second; ValueError for what no file can have."""
  if not 0.01 <= fps <= 100:
    raise ValueError(f'fps is {fps:g}; it must be 0.01 to 100')
  return fps


def check_encoder(suffix: str) -> None:
  """Raises a ValueError where what writes this suffix is not installed."""
  if suffix == '.mp4':
    try:
      import imageio_ffmpeg

      imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
      raise ValueError(
        f'.mp4 needs imageio-ffmpeg ({error}): pip install imageio-ffmpeg, or '
        'use .webp, .apng or .gif'
      ) from error


def save(path: pathlib.Path, stills: np.ndarray, fps: float) -> None:
  """Writes uint8 [T, H, W, 3]; it loops, except as an MP4.

  Colors are exact in APNG and WebP, and in a GIF of at most 256 of them.
  """
  check_fps(fps)
  suffix = path.suffix.lower()
  check_encoder(suffix)
  if suffix == '.mp4':
    _save_mp4(path, stills, fps)
    return
  look = {'duration': round(1000 / fps), 'loop': 0}
  if suffix == '.gif':
    indices, colors = reduce_colors(stills)
    images = [Image.fromarray(index) for index in indices]
    for image in images:
      image.putpalette(colors.tobytes())  # makes it one of mode P
    kind = 'GIF'
  else:
    images = [Image.fromarray(still) for still in stills]
    kind = {'.apng': 'PNG', '.webp': 'WEBP'}[suffix]
    if kind == 'WEBP':
      look['lossless'] = True
  with files.replacing(path) as file:
    images[0].save(file, kind, save_all=True, append_images=images[1:], **look)


def reduce_colors(stills: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Finds the colors that stand for those of a film.

  Args:
    stills: uint8 [T, H, W, 3].

  Returns:
    uint8 [T, H, W], which color each pixel gets, the nearest; and the colors,
    uint8 [K, 3], 256 at most.
  """
  # A color as one number; a still at a time, for films can be large.
  found = [np.unique(_pack(still), return_counts=True) for still in stills]
  packed, place = np.unique(
    np.concatenate([values for values, _ in found]), return_inverse=True
  )
  counts = np.bincount(place, np.concatenate([count for _, count in found]))
  every = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1)
  colors = every
  if len(every) > _COLORS:
    colors = _representatives(every.astype(float), counts)
  lookup = np.zeros(2**24, np.uint8)
  lookup[packed] = cKDTree(colors).query(every)[1]
  indices = np.stack([lookup[_pack(still)] for still in stills])
  return indices, colors.astype(np.uint8)


def _pack(still: np.ndarray) -> np.ndarray:
  red, green, blue = np.moveaxis(still.astype(np.uint32), -1, 0)
  return red << 16 | green << 8 | blue


def _representatives(colors: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """256 colors [K, 3] for all of these [N, 3], of which there are `counts`."""
  # Cells of 8 x 8 x 8 colors: any of a cell is within 8 of their mean.
  keys = (colors.astype(int) >> 3) @ (1024, 32, 1)
  _, cell = np.unique(keys, return_inverse=True)
  pixels = np.bincount(cell, counts)
  means = _means(cell, colors, counts, pixels)
  # Of a rare color a person sees more than of its share, so a pixel counts the
  # less, the more there are alike.
  weights = pixels**0.25
  # Next is always the cell that costs most without a color of its own.
  chosen = [int(weights.argmax())]
  apart = np.full(len(means), np.inf)
  while len(chosen) < min(_COLORS, len(means)):
    apart = np.minimum(apart, np.square(means - means[chosen[-1]]).sum(-1))
    chosen.append(int((weights * apart).argmax()))
  centers = means[chosen]
  for _ in range(_ROUNDS):
    nearest = cKDTree(centers).query(means)[1]
    total = np.bincount(nearest, weights, len(centers))
    centers = _means(nearest, means, weights, total)
  return centers.round()


def _means(
  group: np.ndarray, colors: np.ndarray, weights: np.ndarray, total: np.ndarray
) -> np.ndarray:
  """The weighted mean color of each group; `total` are their weights."""
  sums = [np.bincount(group, weights * part, len(total)) for part in colors.T]
  # None has a group of its own for ever: others may take all that it had.
  return np.stack(sums, -1) / np.maximum(total, 1e-9)[:, None]


def _save_mp4(path: pathlib.Path, stills: np.ndarray, fps: float) -> None:
  """H.264 as all players take it, and its colors as they show them."""
  import imageio_ffmpeg

  # Its color has half the resolution, so sizes must be even.
  odd = [(0, size % 2) for size in stills.shape[1:3]]
  stills = np.pad(stills, ((0, 0), *odd, (0, 0)), constant_values=_PAPER)
  height, width = stills.shape[1:3]
  rate = str(fractions.Fraction(fps).limit_denominator(1000))
  with tempfile.TemporaryDirectory() as folder:
    encoded = pathlib.Path(folder) / 'film.mp4'
    # By the program, for the package's own functions fork, which JAX warns of.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error']
    command += ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-r', rate]
    command += ['-s', f'{width}x{height}', '-i', '-', '-c:v', 'libx264']
    command += ['-crf', '12', '-pix_fmt', 'yuv420p', '-movflags', '+faststart']
    command += ['-vf', 'scale=out_color_matrix=bt709:out_range=tv']
    for field in ('colorspace', 'color_primaries', 'color_trc'):
      command += [f'-{field}', 'bt709']
    done = subprocess.run(
      [*command, str(encoded)], input=stills.tobytes(), capture_output=True
    )
    if done.returncode:
      reason = done.stderr.decode(errors='replace').strip().splitlines()
      raise ValueError(
        f'{path} cannot be encoded: {"; ".join(reason[:1])}; use .webp, .apng '
        'or .gif'
      )
    with encoded.open('rb') as source, files.replacing(path) as file:
      shutil.copyfileobj(source, file)
