"""Pictures of scenes beside samples of them, on a page of tiles.

Paper, figures 3, 4 and 7. A page is laid out in inches: tiles touch nothing,
whatever their number.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax import images
from cgqn_jax.figures import style as style_lib
from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice.rooms import EDGE, HALF_ROOM

SEEN, ASKED = '#1f5aa6', '#c4342d'  # the paper's blue and red cones
_TILE, _GAP, _BLOCK = 0.72, 0.05, 0.3  # inches
_HEAD, _FOOT, _MARGIN = 0.3, 0.17, 0.12


class RoomFigure(NamedTuple):
  """One room of figure 7.

  context, truth: [C, H, W, 3], [T, H, W, 3] frames in [0, 1] or bytes.
  cameras: [C + T, 7], in that order.
  cube: x, y, yaw; side: the hidden one.
  samples: model -> [S, T, H, W, 3].
  readings: model -> [S, T] digits that the judge names, of 100; -1 for none.
  label: of the room.
  """

  context: np.ndarray
  truth: np.ndarray
  cameras: np.ndarray
  cube: np.ndarray
  side: int
  samples: dict[str, np.ndarray]
  readings: dict[str, np.ndarray]
  label: str


class Strip(NamedTuple):
  """A row of tiles: frames [N, H, W, 3]; `seen` ones get a blue frame."""

  label: str
  frames: np.ndarray
  seen: Sequence[bool]


class _Page:
  """Axes at positions in inches, from the top left."""

  def __init__(self, width: float, height: float):
    self.figure = Figure(figsize=(width, height))
    self._size = width, height

  def axis(self, x: float, y: float, side: float) -> Axes:
    """A square without ticks."""
    width, height = self._size
    box = (x / width, 1 - (y + side) / height, side / width, side / height)
    axis = self.figure.add_axes(box)
    axis.set(xticks=[], yticks=[])
    return axis

  def tile(
    self,
    x: float,
    y: float,
    frame: np.ndarray,
    edge: str | None = None,
    name: str = '',
  ) -> None:
    """One frame, its name in the corner; nearest neighbour: pixels stay."""
    axis = self.axis(x, y, _TILE)
    axis.imshow(images.to_uint8(frame), interpolation='nearest')
    for spine in axis.spines.values():
      spine.set(visible=True, color=edge or '#c8c8c8', lw=1.6 if edge else 0.5)
    if name:
      axis.text(
        0.03, 0.97, name, transform=axis.transAxes, ha='left', va='top',
        fontsize=6.5, weight='bold', color=edge, linespacing=0.9,
        bbox={'fc': 'white', 'ec': 'none', 'pad': 1.0, 'alpha': 0.85},
      )  # fmt: skip

  def text(self, x: float, y: float, text: str, **style: Any) -> None:
    width, height = self._size
    style = {'ha': 'center', 'va': 'center', 'color': style_lib.INK} | style
    self.figure.text(x / width, 1 - y / height, text, **style)


def room_size(context: int, targets: int) -> int:
  """Tiles in a column of context frames, as high as the targets."""
  return -(-context // targets)


@matplotlib.rc_context(style_lib.STYLE)
def rooms(shown: Sequence[RoomFigure], protocol: str) -> Figure:
  """Figure 7: camera map, context, truth and samples, a block a room."""
  first = shown[0]
  high, step = len(first.truth), _TILE + _GAP
  tall = high * step - _GAP
  seen_columns = room_size(len(first.context), high)
  starts = [_MARGIN, _MARGIN + tall + _BLOCK]
  starts.append(starts[-1] + seen_columns * step + _BLOCK)
  starts.append(starts[-1] + step + _BLOCK)
  for frames in first.samples.values():
    starts.append(starts[-1] + len(frames) * step + _BLOCK)
  block = tall + _FOOT + 0.2
  page = _Page(starts[-1] - _BLOCK + _MARGIN, _HEAD + block * len(shown))
  heads = ['cameras', 'context', 'truth', *map(style_lib.name, first.samples)]
  widths = [tall, seen_columns * step, _TILE]
  widths += [len(frames) * step for frames in first.samples.values()]
  for x, width, head in zip(starts, widths, heads, strict=False):
    page.text(x + (width - _GAP) / 2, _HEAD / 2, head, fontsize=9)
  for row, room in enumerate(shown):
    y = _HEAD + row * block
    _camera_map(page.axis(starts[0], y, tall), room)
    page.text(starts[0] + tall / 2, y + tall + 0.09, room.label, fontsize=6.5)
    for i, frame in enumerate(room.context):
      column, line = divmod(i, high)
      at = starts[1] + column * step, y + line * step
      page.tile(*at, frame, SEEN, chr(ord('a') + i))
    for t, frame in enumerate(room.truth):
      page.tile(starts[2], y + t * step, frame, ASKED, str(t + 1))
    for x, (model, samples) in zip(
      starts[3:], room.samples.items(), strict=False
    ):
      _samples(page, x, y, samples, room.readings[model])
  style_lib.caption(page.figure, protocol)
  return page.figure


def _samples(
  page: _Page, x: float, y: float, samples: np.ndarray, readings: np.ndarray
) -> None:
  """Columns of samples, and below each what the judge reads in it."""
  step = _TILE + _GAP
  for s, frames in enumerate(samples):
    for t, frame in enumerate(frames):
      page.tile(x + s * step, y + t * step, frame)
    same = len(set(readings[s])) == 1 and readings[s][0] >= 0
    read = ['–' if d < 0 else str(d // 10) for d in readings[s]]
    page.text(
      x + s * step + _TILE / 2,
      y + len(frames) * step + 0.04,
      'reads ' + ' '.join(read),
      fontsize=6,
      color='#2c7a3d' if same else style_lib.FAINT,
      weight='bold' if same else 'normal',
    )


def _camera_map(axis: Axes, room: RoomFigure) -> None:
  """The room from above: cube, hidden side, blue and red cones."""
  wall = HALF_ROOM
  axis.add_patch(
    patches.Rectangle(
      (-wall, -wall), 2 * wall, 2 * wall, fc='#f4f2ee', ec='none'
    )
  )
  radius = float(np.mean(np.hypot(room.cameras[:, 0], room.cameras[:, 1])))
  axis.add_patch(
    patches.Circle(
      (0, 0), radius, fill=False, ec='#bdb8ae', lw=0.7, ls=(0, (3, 2))
    )
  )
  for i, camera in enumerate(room.cameras):
    asked = i >= len(room.context)
    text = str(i - len(room.context) + 1) if asked else chr(ord('a') + i)
    _cone(axis, camera, ASKED if asked else SEEN, text)
  corners = cube_corners(room.cube)
  axis.add_patch(
    patches.Polygon(corners, fc='#d9d4c8', ec=style_lib.INK, lw=0.8)
  )
  ends = hidden_side(room.cube, room.side)
  axis.plot(*ends.T, color=ASKED, lw=3, solid_capstyle='butt')
  axis.set(xlim=(-wall, wall), ylim=(-wall, wall), aspect='equal')
  for spine in axis.spines.values():
    spine.set(visible=True, color=style_lib.INK, lw=1.5)


def _cone(axis: Axes, camera: np.ndarray, ink: str, text: str) -> None:
  """What a camera sees, cut off at a short length, and its name behind it."""
  x, y, _, sin, cos = camera[:5]
  yaw = np.degrees(np.arctan2(sin, cos))
  half = dice.FIELD_OF_VIEW / 2
  axis.add_patch(
    patches.Wedge((x, y), 0.42, yaw - half, yaw + half, fc=ink, ec=ink,
                  alpha=0.45, lw=0.5)
  )  # fmt: skip
  axis.text(
    x - 0.13 * cos, y - 0.13 * sin, text, color=ink, fontsize=7, ha='center',
    va='center', weight='bold',
  )  # fmt: skip


def cube_corners(cube: np.ndarray) -> np.ndarray:
  """[4, 2] x and y of the cube's corners, counterclockwise from +x +y."""
  x, y, yaw = map(float, cube)
  turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
  corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * EDGE / 2
  return corners @ turn.T + [x, y]


def hidden_side(cube: np.ndarray, side: int) -> np.ndarray:
  """[2, 2] ends of one of the sides +x, -x, +y, -y, seen from above."""
  corners = cube_corners(cube)
  return corners[list([(3, 0), (1, 2), (0, 1), (2, 3)][side])]


@matplotlib.rc_context(style_lib.STYLE)
def strips(
  blocks: Sequence[Sequence[Strip]],
  columns: Sequence[str],
  cut: int,
  protocol: str,
) -> Figure:
  """Figures 3 and 4: rows of frames of the same times, scenes side by side.

  Args:
    blocks: a scene each; all have the same rows.
    columns: names of the times.
    cut: a gap stands before this column; 0 for none.
    protocol: below everything.
  """
  step, rows = _TILE + _GAP, len(blocks[0])
  gap = 0.14 if cut else 0.0
  left = 0.25 + 0.068 * max(len(strip.label) for strip in blocks[0])
  wide = len(columns) * step - _GAP + gap
  top = _HEAD + 0.02
  page = _Page(
    left + len(blocks) * (wide + _BLOCK) - _BLOCK + _MARGIN,
    top + rows * step + 0.05,
  )
  for b, block in enumerate(blocks):
    x0 = left + b * (wide + _BLOCK)

    def at(column: int, x0: float = x0) -> float:
      return x0 + column * step + (gap if cut and column >= cut else 0)

    for j, column in enumerate(columns):
      page.text(at(j) + _TILE / 2, top - 0.12, column, fontsize=8)
    for i, strip in enumerate(block):
      y = top + i * step
      if b == 0:
        page.text(left - 0.1, y + _TILE / 2, strip.label, ha='right')
      for j, frame in enumerate(strip.frames):
        page.tile(at(j), y, frame, SEEN if strip.seen[j] else None)
  style_lib.caption(page.figure, protocol)
  return page.figure
