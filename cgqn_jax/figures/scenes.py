"""Pictures of scenes beside samples of them, on a page of tiles.

Paper, figures 3, 4 and 7. A page is laid out in inches: tiles touch nothing,
whatever their number.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax import images
from cgqn_jax.data import sources
from cgqn_jax.figures import samples as samples_lib
from cgqn_jax.figures import style
from cgqn_jax.figures.samples import Loaded, RoomFigure
from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice.rooms import EDGE, HALF_ROOM
from cgqn_jax.training.workdir import checkpoint_step

SEEN, ASKED = '#1f5aa6', '#c4342d'  # the paper's blue and red cones
_TILE, _GAP, _BLOCK = 0.72, 0.05, 0.3  # inches
_HEAD, _FOOT, _MARGIN = 0.3, 0.17, 0.12

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
  """All frames of a video; those of `context` get a blue edge."""

  label: str
  frames: np.ndarray
  context: Sequence[int]


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

  def text(self, x: float, y: float, text: str, **look: Any) -> None:
    width, height = self._size
    look = {'ha': 'center', 'va': 'center', 'color': style.INK} | look
    self.figure.text(x / width, 1 - y / height, text, **look)


def rooms(
  loaded: Mapping[str, Loaded],
  indices: Sequence[int],
  num_samples: int,
  seed: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figure 7: cameras from above, context, truth and samples."""
  shown = samples_lib.rooms(loaded, indices, num_samples, seed)
  model, _, config, _ = next(iter(loaded.values()))
  size = config.data.frame_size
  variance = float(model.pixel_variance(config.num_steps))
  caption = (
    f'Dice, {size}x{size}, pixel-variance {variance:.3g}. Blue: the cameras a '
    'to e of the context, which shows three sides of the cube. Red: the '
    'fourth side, and the queries 1 to 3 that show it. "reads": class of the '
    'digit that the simulator finds in views 1, 2 and 3, and a dash for none; '
    f'green where all three show the same digit. {_runs(loaded, seed)}'
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
  result = {'caption': caption, 'runs': _paths(loaded), 'scenes': numbers}
  return _room_page(shown, caption), result


@matplotlib.rc_context(style.STYLE)
def _room_page(shown: Sequence[RoomFigure], caption: str) -> Figure:
  """Camera map, context, truth and samples, a block per room."""
  first = shown[0]
  high, step = len(first.truth), _TILE + _GAP
  tall = high * step - _GAP
  # As many columns of context frames as are no higher than the targets.
  seen_columns = -(-len(first.context) // high)
  heads = ['cameras', 'context', 'truth', *map(style.name, first.samples)]
  widths = [tall, seen_columns * step, step]
  widths += [len(frames) * step for frames in first.samples.values()]
  starts = [_MARGIN]
  for width in widths:
    starts.append(starts[-1] + width + _BLOCK)
  block = tall + _FOOT + 0.2
  page = _Page(starts[-1] - _BLOCK + _MARGIN, _HEAD + block * len(shown))
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
  style.caption(page.figure, caption)
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
      color='#2c7a3d' if same else style.FAINT,
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
  axis.add_patch(patches.Polygon(corners, fc='#d9d4c8', ec=style.INK, lw=0.8))
  ends = hidden_side(room.cube, room.side)
  axis.plot(*ends.T, color=ASKED, lw=3, solid_capstyle='butt')
  axis.set(xlim=(-wall, wall), ylim=(-wall, wall), aspect='equal')
  for spine in axis.spines.values():
    spine.set(visible=True, color=style.INK, lw=1.5)


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


def continuations(
  loaded: Mapping[str, Loaded], indices: Sequence[int], seed: int
) -> tuple[Figure, dict[str, Any]]:
  """Figure 3: F1 F6 | F11 F16 F21, and two samples of each model."""
  config = next(iter(loaded.values())).config
  context = list(config.data.get('test_context', ()))
  truth, samples = samples_lib.continuations(loaded, indices, context, 2, seed)
  start, last = max(context), config.data.num_frames - 1
  shown = [min(context), start]
  shown += [start + round((last - start) * part / 3) for part in (1, 2, 3)]
  blocks = [
    [Strip('truth', truth[b], context)]
    + [
      Strip(f'{style.name(model)}, {s + 1}', frames[s, b], context)
      for model, frames in samples.items()
      for s in range(2)
    ]
    for b in range(len(indices))
  ]
  return _strip_page(loaded, indices, seed, blocks, shown, cut=2)


def reactions(
  loaded: Mapping[str, Loaded], indices: Sequence[int], seed: int
) -> tuple[Figure, dict[str, Any]]:
  """Figure 4: one model forwards (B, C), backwards (D, E), both ways (F)."""
  ((name, model),) = loaded.items()
  dataset = sources.dataset_name(model.config)
  if dataset != 'narratives/color_reaction':
    raise ValueError(
      f'it is of color_reaction, and {model.workdir} of {dataset}; give '
      '--workdirs=cgqn=W, a workdir of narrative=color_reaction'
    )
  drawn = {}
  for context in dict.fromkeys(context for _, context, _ in _PANELS):
    truth, samples = samples_lib.continuations(
      loaded, indices, context, 2, seed
    )
    drawn[context] = samples[name]
  blocks = [
    [Strip('A   truth', truth[b], ())]
    + [
      Strip(
        f'{letter}   sees {" ".join(f"F{i + 1}" for i in context)}',
        drawn[context][sample, b],
        context,
      )
      for letter, context, sample in _PANELS
    ]
    for b in range(len(indices))
  ]
  return _strip_page(loaded, indices, seed, blocks, _SHOWN, cut=0)


@matplotlib.rc_context(style.STYLE)
def _strip_page(
  loaded: Mapping[str, Loaded],
  indices: Sequence[int],
  seed: int,
  blocks: Sequence[Sequence[Strip]],
  shown: Sequence[int],
  cut: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figures 3 and 4: rows of frames of the same times, scenes side by side.

  Args:
    loaded: the models.
    indices: of the scenes.
    seed: of the samples.
    blocks: one per scene; all have the same rows.
    shown: frames, a column each.
    cut: a gap stands before this column; 0 for none.
  """
  columns = [f'F{frame + 1}' for frame in shown]
  labels = [strip.label for strip in blocks[0]]
  step = _TILE + _GAP
  gap = 0.14 if cut else 0.0
  left = 0.25 + 0.068 * max(map(len, labels))
  wide = len(columns) * step - _GAP + gap
  top = _HEAD + 0.02
  page = _Page(
    left + len(blocks) * (wide + _BLOCK) - _BLOCK + _MARGIN,
    top + len(labels) * step + 0.05,
  )
  for i, label in enumerate(labels):
    page.text(left - 0.1, top + i * step + _TILE / 2, label, ha='right')
  for b, block in enumerate(blocks):
    for j, (frame, column) in enumerate(zip(shown, columns, strict=True)):
      x = left + b * (wide + _BLOCK) + j * step + (gap if j >= cut else 0)
      page.text(x + _TILE / 2, top - 0.12, column, fontsize=8)
      for i, strip in enumerate(block):
        edge = SEEN if frame in strip.context else None
        page.tile(x, top + i * step, strip.frames[frame], edge)
  config = next(iter(loaded.values())).config
  size = config.data.frame_size
  title = config.data.config.replace('_', ' ').capitalize()
  contexts = {tuple(strip.context) for strip in blocks[0] if strip.context}
  seen = f', {images.frame_names(*contexts)}' if len(contexts) == 1 else ''
  caption = (
    f'{title}, {size}x{size}, {samples_lib.SPLIT} scenes '
    f'{", ".join(map(str, indices))}. Blue: frames that the model sees{seen}. '
    f'{_runs(loaded, seed)}{style.footnote(loaded)}'
  )
  style.caption(page.figure, caption)
  result = {'caption': caption, 'runs': _paths(loaded)}
  return page.figure, result | {'rows': labels, 'columns': columns}


def _runs(loaded: Mapping[str, Loaded], seed: int) -> str:
  """Which updates the models are of; `_paths` says where they lie."""
  names = ', '.join(
    f'{style.name(name)} at update {checkpoint_step(model.workdir):,}'
    for name, model in loaded.items()
  )
  return f'{names}, the least of validation loss; seed {seed} of the samples.'


def _paths(loaded: Mapping[str, Loaded]) -> dict[str, str]:
  return {name: str(model.workdir) for name, model in loaded.items()}
