"""Pictures of scenes beside samples of them, on a page of tiles.

Paper, figures 3, 4 and 7. A page is laid out in inches: tiles touch nothing,
whatever their number.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

import matplotlib
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax import images
from cgqn_jax.figures import samples as samples_lib
from cgqn_jax.figures import style as style_lib
from cgqn_jax.figures.samples import Loaded, RoomFigure
from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice.rooms import EDGE, HALF_ROOM
from cgqn_jax.training.workdir import checkpoint_step

SEEN, ASKED = '#1f5aa6', '#c4342d'  # the paper's blue and red cones
_TILE, _GAP, _BLOCK = 0.72, 0.05, 0.3  # inches
_HEAD, _FOOT, _MARGIN = 0.3, 0.17, 0.12


Workdirs = Mapping[str, pathlib.Path]
# Of figure 4: what is shown, and context and number of the sample of a panel,
# from 0.
_SHOWN = (0, 3, 6, 10)
_PANELS = (
  ('B', (0, 3), 0),
  ('C', (0, 3), 1),
  ('D', (6, 10), 0),
  ('E', (6, 10), 1),
  ('F', (3, 6), 0),
)


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
def room_page(shown: Sequence[RoomFigure], protocol: str) -> Figure:
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
def strip_page(
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


def continuations(
  loaded: Mapping[str, Loaded],
  workdirs: Workdirs,
  split: str,
  indices: Sequence[int],
  seed: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figure 3: F1 F6 | F11 F16 F21, and two samples of each model."""
  config = next(iter(loaded.values()))[2]
  context = list(config.data.get('test_context', ()))
  truth, samples = samples_lib.continuations(
    loaded, split, indices, context, 2, seed
  )
  start, last = max(context), config.data.num_frames - 1
  shown = [min(context), start]
  shown += [start + round((last - start) * part / 3) for part in (1, 2, 3)]
  seen = [frame in context for frame in shown]
  blocks = [
    [Strip('truth', truth[b, shown], seen)]
    + [
      Strip(f'{style_lib.name(model)}, {s + 1}', frames[s, b, shown], seen)
      for model, frames in samples.items()
      for s in range(2)
    ]
    for b in range(len(indices))
  ]
  caption = _caption(config, workdirs, split, indices, seed)
  return _strip_figure(blocks, shown, 2, caption, workdirs)


def reactions(
  loaded: Mapping[str, Loaded],
  workdirs: Workdirs,
  split: str,
  indices: Sequence[int],
  seed: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figure 4: one model forwards (B, C), backwards (D, E), both ways (F)."""
  ((name, its),) = loaded.items()
  config = its[2]
  if config.data.config != 'color_reaction':
    raise ValueError(
      f'it is of color_reaction, and {workdirs[name]} of {config.data.config}; '
      'give --workdirs=cgqn=W, a workdir of narrative=color_reaction'
    )
  drawn = {}
  for context in dict.fromkeys(context for _, context, _ in _PANELS):
    truth, samples = samples_lib.continuations(
      loaded, split, indices, context, 2, seed
    )
    drawn[context] = samples[name]
  shown = list(_SHOWN)
  blocks = [
    [Strip('A   truth', truth[b, shown], [False] * len(shown))]
    + [
      Strip(
        f'{letter}   sees {" ".join(f"F{i + 1}" for i in context)}',
        drawn[context][sample, b, shown],
        [frame in context for frame in shown],
      )
      for letter, context, sample in _PANELS
    ]
    for b in range(len(indices))
  ]
  caption = _caption(config, workdirs, split, indices, seed)
  return _strip_figure(blocks, shown, 0, caption, workdirs)


def rooms(
  shown: Sequence[RoomFigure],
  loaded: Mapping[str, Loaded],
  workdirs: Workdirs,
  seed: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figure 7, of what `samples.rooms` gave."""
  model, _, config = next(iter(loaded.values()))
  size = config.data.frame_size
  variance = float(model.pixel_variance(config.num_steps))
  caption = (
    f'Dice, {size}x{size}, pixel-variance {variance:.3g}. Blue: the cameras a '
    'to e of the context, which shows three sides of the cube. Red: the '
    'fourth side, and the queries 1 to 3 that show it. "reads": class of the '
    'digit that the simulator finds in views 1, 2 and 3, and a dash for none; '
    'green where all three show the same digit. '
    f'{_runs(workdirs, seed)}'
  )
  numbers = [
    {
      'scene': room.label,
      'cameras': room.cameras.tolist(),
      'cube': room.cube.tolist(),
      'hidden_side': room.side,
      'digits_read': {m: r.tolist() for m, r in room.readings.items()},
    }
    for room in shown
  ]
  its = {'caption': caption, 'runs': _paths(workdirs), 'scenes': numbers}
  return room_page(shown, caption), its


def _strip_figure(
  blocks: Sequence[Sequence[Strip]],
  shown: Sequence[int],
  cut: int,
  caption: str,
  workdirs: Workdirs,
) -> tuple[Figure, dict[str, Any]]:
  columns = [f'F{frame + 1}' for frame in shown]
  rows = [strip.label for strip in blocks[0]]
  figure = strip_page(blocks, columns, cut, caption)
  its = {'caption': caption, 'runs': _paths(workdirs)}
  return figure, its | {'rows': rows, 'columns': columns}


def _caption(
  config: Any,
  workdirs: Workdirs,
  split: str,
  indices: Sequence[int],
  seed: int,
) -> str:
  size = config.data.frame_size
  title = config.data.config.replace('_', ' ').capitalize()
  text = (
    f'{title}, {size}x{size}, {split} scenes {", ".join(map(str, indices))}. '
    f'Blue: frames that the model sees. {_runs(workdirs, seed)}'
  )
  return text + (
    f' {style_lib.FOOTNOTE}.' if 'cgqn_context' in workdirs else ''
  )


def _runs(workdirs: Workdirs, seed: int) -> str:
  names = ', '.join(
    f'{style_lib.name(model)} {path.name} at update {checkpoint_step(path):,}'
    for model, path in workdirs.items()
  )
  return (
    f'Runs: {names}, the least of validation loss; seed {seed} of the samples.'
  )


def _paths(workdirs: Workdirs) -> dict[str, str]:
  return {model: str(path) for model, path in workdirs.items()}
