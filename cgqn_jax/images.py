"""Sheets of labelled frames, and frames saved as PNG, GIF or arrays.

Draws what the paper's figures show: samples in rows, queries in columns, the
context marked by a coloured frame.
"""

from collections.abc import Mapping, Sequence
import math
import pathlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cgqn_jax import files

SUFFIXES = ('.png', '.gif', '.npz')
_READABLE = 96  # pixels; smaller frames are enlarged by a whole factor
_WIDEST = 2400  # pixels of all frames of a row, where the factor has a choice
_PAPER, _INK, _BLANK = (255, 255, 255), (40, 40, 40), (238, 238, 238)
_CONTEXT, _HAIRLINE = (235, 125, 0), (205, 205, 205)
_GAP, _BORDER = 8, 3
_GIF_ROW = 8  # samples side by side before a second row starts


def to_uint8(frames: Any) -> np.ndarray:
  """Clips floats in [0, 1] to bytes; uint8 passes as it is."""
  frames = np.asarray(frames)
  if frames.dtype == np.uint8:
    return frames
  unit = np.clip(np.nan_to_num(frames.astype(np.float32)), 0.0, 1.0)
  return np.round(unit * 255.0).astype(np.uint8)


def sheet(
  frames: Any,
  row_labels: Sequence[str] = (),
  column_labels: Sequence[str] = (),
  *,
  context: Any = False,
  scale: int | None = None,
) -> np.ndarray:
  """Lays frames out as a table; returns a uint8 [height, width, 3] picture.

  frames: [rows, columns, H, W, 3], uint8 or floats (clipped to [0, 1]); a
    cell that is all NaN stays blank.
  context: bools [columns] or [rows, columns]; these get a coloured frame.
  scale: whole enlargement factor; chosen to be readable when None.
  """
  frames = _checked(frames, 'a sheet takes frames [rows, columns, H, W, 3]')
  rows, columns, height, width, _ = frames.shape
  for labels, count in ((row_labels, rows), (column_labels, columns)):
    if labels and len(labels) != count:
      raise ValueError(f'{len(labels)} labels for {count} frames: {labels}')
  marked = np.broadcast_to(context, (rows, columns))
  if scale is None:
    most = _WIDEST // (columns * width)
    scale = max(1, min(math.ceil(_READABLE / width), most))
  step_x, step_y = width * scale + _GAP, height * scale + _GAP
  row_font = ImageFont.load_default(14)
  column_font = _fitting_font(column_labels, width * scale)
  left = _GAP + _room([_size(t, row_font)[0] for t in row_labels])
  top = _GAP + _room([_size(t, column_font)[1] for t in column_labels])
  picture = Image.new(
    'RGB', (left + columns * step_x, top + rows * step_y), _PAPER
  )
  draw = ImageDraw.Draw(picture)
  for i, label in enumerate(row_labels):
    at = (left - _GAP, top + i * step_y + height * scale // 2)
    draw.text(at, label, _INK, row_font, anchor='rm', align='right')
  for j, label in enumerate(column_labels):
    at = (left + j * step_x + width * scale // 2, top - _GAP)
    draw.text(at, label, _INK, column_font, anchor='md', align='center')
  for i, j in np.ndindex(rows, columns):
    x, y = left + j * step_x, top + i * step_y
    border, color = (_BORDER, _CONTEXT) if marked[i, j] else (1, _HAIRLINE)
    far = (x + step_x - _GAP + border - 1, y + step_y - _GAP + border - 1)
    draw.rectangle((x - border, y - border, *far), color)
    picture.paste(_cell(frames[i, j], scale), (x, y))
  return np.array(picture)


def check_path(path: str | pathlib.Path) -> pathlib.Path:
  """Returns the path, or raises a ValueError when `save` could not use it.

  Call it before computing what shall be saved.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() not in SUFFIXES:
    raise ValueError(
      f'cannot write {path}: its suffix {path.suffix!r} says no format; use '
      'one of .png (a sheet), .gif (an animation), .npz (arrays)'
    )
  return files.try_file(path)


def check_fps(fps: float) -> float:
  """Returns frames per second, or raises a ValueError where no GIF has them."""
  if not 0.01 <= fps <= 100:
    raise ValueError(f'fps is {fps:g}; it must be 0.01 to 100')
  return fps


def save(
  path: str | pathlib.Path,
  frames: Any,
  *,
  row_labels: Sequence[str] = (),
  column_labels: Sequence[str] = (),
  context: Any = False,
  fps: float = 4.0,
  arrays: Mapping[str, Any] | None = None,
) -> None:
  """Saves frames [S, T, H, W, 3] in the format that the suffix says.

  .png is a sheet, a row per sample; .gif shows the samples side by side,
  labelled by `row_labels`; .npz holds `frames` as they are, and `arrays`.
  """
  path = check_path(path)
  suffix = path.suffix.lower()
  if suffix == '.png':
    save_png(path, sheet(frames, row_labels, column_labels, context=context))
  elif suffix == '.gif':
    save_gif(path, frames, labels=row_labels, context=context, fps=fps)
  else:
    files.write_npz(path, {'frames': frames, **(arrays or {})})


def save_png(path: str | pathlib.Path, image: Any) -> None:
  """Saves one picture [height, width, 3]."""
  picture = Image.fromarray(to_uint8(image))
  with files.replacing(pathlib.Path(path)) as file:
    picture.save(file, 'PNG')


def save_gif(
  path: str | pathlib.Path,
  frames: Any,
  *,
  labels: Sequence[str] = (),
  context: Any = False,
  fps: float = 4.0,
) -> None:
  """Saves samples [S, T, H, W, 3] side by side as a GIF that loops.

  labels: a caption per sample; context: bools [T] or [S, T], as in `sheet`.
  """
  frames = _checked(frames, 'a GIF takes frames [S, T, H, W, 3]')
  check_fps(fps)
  samples, times = frames.shape[:2]
  marked = np.broadcast_to(context, (samples, times))
  stills = []
  for t in range(times):
    rows = [
      sheet(
        frames[None, i : i + _GIF_ROW, t],
        column_labels=labels[i : i + _GIF_ROW],
        context=marked[i : i + _GIF_ROW, t],
      )
      for i in range(0, samples, _GIF_ROW)
    ]
    stills.append(_stack(rows))
  # One palette for all times and no dithering: still pixels stay still.
  film = Image.fromarray(np.concatenate(stills))
  palette = film.quantize(256, dither=Image.Dither.NONE)
  images = [
    Image.fromarray(still).quantize(palette=palette, dither=Image.Dither.NONE)
    for still in stills
  ]
  with files.replacing(pathlib.Path(path)) as file:
    images[0].save(
      file,
      'GIF',
      save_all=True,
      append_images=images[1:],
      duration=round(1000 / fps),
      loop=0,
    )


def _checked(frames: Any, wanted: str) -> np.ndarray:
  frames = np.asarray(frames)
  if frames.ndim != 5 or frames.shape[-1] != 3 or not frames.size:
    raise ValueError(f'{wanted}, not {frames.shape}')
  return frames


def _cell(frame: np.ndarray, scale: int) -> Image.Image:
  """Enlarges one frame by nearest neighbour; all NaN gives a blank."""
  if frame.dtype.kind == 'f' and np.isnan(frame).all():
    frame = np.full(frame.shape, _BLANK, np.uint8)
  large = to_uint8(frame).repeat(scale, 0).repeat(scale, 1)
  return Image.fromarray(large)


def _fitting_font(labels: Sequence[str], width: int) -> Any:
  """Returns the largest font of 14 to 9 that keeps labels in their column."""
  for size in range(14, 9, -1):
    font = ImageFont.load_default(size)
    if all(_size(label, font)[0] <= width for label in labels):
      return font
  return ImageFont.load_default(9)


def _size(text: str, font: Any) -> tuple[int, int]:
  draw = ImageDraw.Draw(Image.new('RGB', (1, 1)))
  box = draw.textbbox((0, 0), text, font, anchor='ld')
  return math.ceil(box[2] - box[0]), math.ceil(box[3] - box[1])


def _room(sizes: Sequence[int]) -> int:
  """Returns the space that labels take, none where there are none."""
  return max(sizes) + _GAP if sizes else 0


def _stack(rows: Sequence[np.ndarray]) -> np.ndarray:
  """Puts rows under each other, the last one filled up with paper."""
  missing = rows[0].shape[1] - rows[-1].shape[1]
  paper = ((0, 0), (0, missing), (0, 0))
  filled = np.pad(rows[-1], paper, constant_values=255)
  return np.concatenate([*rows[:-1], filled])
