"""Sheets of labelled frames; frames in files, still, moving or as arrays.

Draws what the paper's figures show: samples in rows, queries in columns, the
context marked by a coloured frame. A moving picture has a scene in each row,
its truth and samples in columns, and says above them which time it shows.
"""

from collections.abc import Iterable, Mapping, Sequence
import math
import pathlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cgqn_jax import files, films

SUFFIXES = ('.png', *films.SUFFIXES, '.npz')
_READABLE = 96  # pixels; smaller frames are enlarged by a whole factor
_WIDEST = 2400  # pixels of all frames of a row, where the factor has a choice
_PAPER, _INK, _BLANK = (255, 255, 255), (40, 40, 40), (238, 238, 238)
_CONTEXT, _HAIRLINE = (235, 125, 0), (205, 205, 205)
_GAP, _BORDER = 8, 3
_APART = 16  # pixels more between scenes than between samples of one
_TEXT_ROOM = 260  # pixels, at least, for lines of text above and below
_SEEN = 'Orange: seen by the model.'


def to_uint8(frames: Any) -> np.ndarray:
  """Clips floats in [0, 1] to bytes; uint8 passes as it is."""
  frames = np.asarray(frames)
  if frames.dtype == np.uint8:
    return frames
  unit = np.clip(np.nan_to_num(frames.astype(np.float32)), 0.0, 1.0)
  return np.round(unit * 255.0).astype(np.uint8)


def frame_names(frames: Iterable[int]) -> str:
  """Frames, counted from 0, as people name them: 'F1 to F6', 'F1, F4'."""
  runs: list[list[int]] = []
  for frame in sorted(set(frames)):
    if runs and frame == runs[-1][-1] + 1:
      runs[-1].append(frame)
    else:
      runs.append([frame])
  names = []
  for run in runs:
    ends = [f'F{frame + 1}' for frame in run]
    names += [f'{ends[0]} to {ends[-1]}'] if len(run) > 2 else ends
  return ', '.join(names) or 'no frame'


def sheet(
  frames: Any,
  row_labels: Sequence[str] = (),
  column_labels: Sequence[str] = (),
  *,
  context: Any = False,
  scale: int | None = None,
  block: int | None = None,
  title: str = '',
  note: str | None = None,
) -> np.ndarray:
  """Lays frames out as a table; returns a uint8 [height, width, 3] picture.

  frames: [rows, columns, H, W, 3], uint8 or floats (clipped to [0, 1]); a
    cell that is all NaN stays blank.
  context: bools [columns] or [rows, columns]; these get a coloured frame.
  scale: whole enlargement factor; chosen to be readable when None.
  block: rows of a scene; the next one stands apart.
  title: a line above all.
  note: lines below all; None says what the coloured frames are, if there are
    any.
  """
  frames = _checked(frames, 'a sheet takes frames [rows, columns, H, W, 3]', 5)
  rows, columns, height, width, _ = frames.shape
  for labels, count in ((row_labels, rows), (column_labels, columns)):
    if labels and len(labels) != count:
      raise ValueError(f'{len(labels)} labels for {count} frames: {labels}')
  marked = np.broadcast_to(context, (rows, columns))
  if note is None:
    note = _SEEN if marked.any() else ''
  if scale is None:
    most = _WIDEST // (columns * width)
    scale = max(1, min(math.ceil(_READABLE / width), most))
  step_x, step_y = width * scale + _GAP, height * scale + _GAP
  row_font, title_font = ImageFont.load_default(14), ImageFont.load_default(18)
  column_labels, column_font, every = _fitting(column_labels, step_x)
  left = _GAP + _room([_size(t, row_font)[0] for t in row_labels])
  wide = left + columns * step_x
  if title or note:
    wide = max(wide, _TEXT_ROOM)
  note = _wrapped(note, row_font, wide - 2 * _GAP)
  head = sum(title_font.getmetrics()) + _GAP if title else 0
  top = head + _GAP + _room([_size(t, column_font)[1] for t in column_labels])
  starts = [
    top + i * step_y + (i // block * _APART if block else 0)
    for i in range(rows)
  ]
  foot = starts[-1] + step_y
  tall = foot + (_size(note, row_font)[1] + _GAP + _BORDER if note else 0)
  picture = Image.new('RGB', (wide, tall), _PAPER)
  draw = ImageDraw.Draw(picture)
  draw.text((left, _GAP), title, _INK, title_font)
  for y, label in zip(starts, row_labels, strict=False):
    at = (left - _GAP, y + height * scale // 2)
    draw.text(at, label, _INK, row_font, anchor='rm', align='right')
  for j, label in list(enumerate(column_labels))[::every]:
    at = (left + j * step_x + width * scale // 2, top - _GAP)
    draw.text(at, label, _INK, column_font, anchor='md', align='center')
  draw.text((_GAP, foot + _BORDER), note, _INK, row_font)
  for i, j in np.ndindex(rows, columns):
    x, y = left + j * step_x, starts[i]
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
  suffix = path.suffix.lower()
  if suffix not in SUFFIXES:
    raise ValueError(
      f'cannot write {path}: its suffix {path.suffix!r} says no format; use '
      'one of .png (a sheet), .gif, .apng, .webp, .mp4 (moving pictures), .npz '
      '(arrays)'
    )
  try:
    films.check_encoder(suffix)
  except ValueError as error:
    raise ValueError(f'cannot write {path}: {error}') from error
  return files.try_file(path)


def save(
  path: str | pathlib.Path,
  frames: Any,
  *,
  scene_labels: Sequence[str] = (),
  sample_labels: Sequence[str] = (),
  time_labels: Sequence[str] = (),
  context: Any = False,
  fps: float = 4.0,
  note: str | None = None,
  arrays: Mapping[str, Any] | None = None,
) -> None:
  """Saves frames [B, S, T, H, W, 3] in the format that the suffix says.

  .png is a sheet: a row per sample, scene by scene, times in columns. .npz
  holds `frames` as [B S, T, H, W, 3], as they are, and `arrays`. All others
  are moving pictures, a scene in each row.

  context: bools [T] or [B, T], the frames that the model saw.
  note: lines below the picture; None says what the coloured frames are.
  """
  path = check_path(path)
  suffix = path.suffix.lower()
  frames = _checked(frames, 'pictures take frames [B, S, T, H, W, 3]', 6)
  scenes, samples, times = frames.shape[:3]
  flat = frames.reshape(-1, *frames.shape[2:])
  marked = np.broadcast_to(context, (scenes, times))
  if suffix == '.npz':
    files.write_npz(path, {'frames': flat, **(arrays or {})})
  elif suffix == '.png':
    labels = [
      ': '.join(filter(None, (scene * (not s), sample)))
      for scene in scene_labels or [''] * scenes
      for s, sample in enumerate(sample_labels or [''] * samples)
    ]
    picture = sheet(
      flat,
      labels if any(labels) else (),
      time_labels,
      context=marked.repeat(samples, 0),
      block=samples,
      note=note,
    )
    save_png(path, picture)
  else:
    if note is None and marked.any():
      note = _SEEN  # at all times, so that the pictures are of one size
    stills = []
    for t in range(times):
      title = time_labels[t] if time_labels else ''
      if title and marked[:, t].all():
        title += ', seen by the model'
      stills.append(
        sheet(
          frames[:, :, t],
          scene_labels,
          sample_labels,
          context=marked[:, t, None],
          title=title,
          note=note,
        )
      )
    films.save(path, np.stack(stills), fps)


def save_png(path: str | pathlib.Path, image: Any) -> None:
  """Saves one picture [height, width, 3]."""
  picture = Image.fromarray(to_uint8(image))
  with files.replacing(pathlib.Path(path)) as file:
    picture.save(file, 'PNG')


def _checked(frames: Any, wanted: str, ndim: int) -> np.ndarray:
  frames = np.asarray(frames)
  if frames.ndim != ndim or frames.shape[-1] != 3 or not frames.size:
    raise ValueError(f'{wanted}, not {frames.shape}')
  return frames


def _cell(frame: np.ndarray, scale: int) -> Image.Image:
  """Enlarges one frame by nearest neighbour; all NaN gives a blank."""
  if frame.dtype.kind == 'f' and np.isnan(frame).all():
    frame = np.full(frame.shape, _BLANK, np.uint8)
  large = to_uint8(frame).repeat(scale, 0).repeat(scale, 1)
  return Image.fromarray(large)


def _fitting(
  labels: Sequence[str], width: int
) -> tuple[Sequence[str], Any, int]:
  """What keeps labels off each other in columns of this width.

  Returns:
    The labels, broken into lines of a word if need be; the largest font of 14
    to 9; and of how many labels one is shown, where even that is too wide.
  """
  broken = [label.replace(' ', '\n') for label in labels]
  for size in range(14, 8, -1):
    font = ImageFont.load_default(size)
    for texts in (labels, broken):
      widest = max((_size(text, font)[0] for text in texts), default=0)
      if widest <= width - _GAP // 2:
        return texts, font, 1
  return broken, font, -(-(widest + _GAP // 2) // width)


def _wrapped(text: str, font: Any, width: int) -> str:
  """The text in lines that are no wider, unless a word is."""
  lines = []
  for paragraph in text.splitlines():
    line = ''
    for word in paragraph.split():
      longer = f'{line} {word}'.strip()
      if line and _size(longer, font)[0] > width:
        lines.append(line)
        longer = word
      line = longer
    lines.append(line)
  return '\n'.join(lines)


def _size(text: str, font: Any) -> tuple[int, int]:
  draw = ImageDraw.Draw(Image.new('RGB', (1, 1)))
  box = draw.textbbox((0, 0), text, font, anchor='ld')
  return math.ceil(box[2] - box[0]), math.ceil(box[3] - box[1])


def _room(sizes: Sequence[int]) -> int:
  """Returns the space that labels take, none where there are none."""
  return max(sizes) + _GAP if sizes else 0
