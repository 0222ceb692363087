"""The axes of rooms and the angles of cameras, drawn: docs/axes.png.

A room of the simulator from above and from the side with four cameras in it,
and what they see, so that the picture cannot say anything but the code.
"""

import math

import matplotlib
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from cgqn_jax.data import examples
from cgqn_jax.figures import style
from cgqn_jax.figures.scenes import cube_corners
from cgqn_jax.simulators import dice
from cgqn_jax.simulators.dice.rooms import CEILING, HALF_ROOM

# x, y, z, yaw and pitch in degrees; the first has its angles drawn.
CAMERAS = (
  (-0.9, -0.6, 0.45, 35, 25),
  (-0.9, -0.6, 0.45, 35, -15),
  (0.2, -1.1, 0.65, 95, -15),
  (1.05, 0.5, 1.1, 205, -40),
)
_SCENE = 21  # of the test split
_INKS = ('#c4342d', '#d98a1b', '#1f5aa6', '#3a8f4d')
_FRAME, _RAY = 96, 0.62  # pixels; length of an arrow
_GREY = '#f4f2ee'


@matplotlib.rc_context(style.STYLE)
def draw() -> Figure:
  """The figure."""
  room = dice.sample('test', _SCENE)
  poses = np.array(CAMERAS, float)
  poses[:, 3:] = np.radians(poses[:, 3:])
  cameras = examples.cameras(poses).astype(np.float32)
  views = dice.render_batch(
    dice.stack([room._replace(cameras=cameras)]), _FRAME, 4
  ).frames[0]
  figure = Figure(figsize=(7.6, 5.2))
  grid = figure.add_gridspec(
    2, 1, height_ratios=(1.65, 1), hspace=0.02, left=0.06, right=0.98,
    top=0.95, bottom=0.08,
  )  # fmt: skip
  maps = grid[0].subgridspec(1, 2, width_ratios=(1, 1.12), wspace=0.12)
  _from_above(figure.add_subplot(maps[0]), room, poses)
  _from_the_side(figure.add_subplot(maps[1]), poses[:2])
  for n, axis in enumerate(grid[1].subgridspec(1, 4, wspace=0.2).subplots()):
    axis.imshow(views[n], interpolation='nearest')
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
      spine.set(visible=True, color=_INKS[n], lw=2)
    x, y, z, yaw, pitch = CAMERAS[n]
    axis.set_xlabel(
      f'{n + 1}: x {x:g}, y {y:g}, z {z:g}\nyaw {yaw}°, pitch {pitch}°'
    )
  return figure


def _from_above(axis: Axes, room: dice.Room, poses: np.ndarray) -> None:
  """x to the right and y upwards; z points to who looks."""
  wall = HALF_ROOM
  _walls(axis, (-wall, -wall), 2 * wall, 2 * wall)
  corners = cube_corners(room.cube)
  axis.add_patch(patches.Polygon(corners, fc='#d9d4c8', ec=style.INK, lw=0.8))
  _axes(axis, (-1.25, 0.75), ('x', 'y'))
  axis.text(-1.25, 0.56, 'z towards you', ha='left', va='top', fontsize=7)
  axis.plot(-1.25, 0.75, 'o', ms=7, mfc='white', mec=style.INK)
  axis.plot(-1.25, 0.75, 'o', ms=2, color=style.INK)
  for n, (x, y, _, yaw, _) in reversed(list(enumerate(poses))):
    if n == 1:  # stands where the first does
      continue
    name = '1, 2' if n == 0 else str(n + 1)
    _arrow(axis, (x, y), (math.cos(yaw), math.sin(yaw)), _INKS[n], name)
  x, y, _, yaw, _ = poses[0]
  _angle(axis, (x, y), yaw, 'yaw', _INKS[0], (0.46, 0.45 * yaw))
  axis.set_title('From above: yaw turns from +x to +y')


def _from_the_side(axis: Axes, poses: np.ndarray) -> None:
  """Horizontally along where the cameras look, z upwards."""
  x, y, z, yaw, _ = poses[0]
  start = x * math.cos(yaw) + y * math.sin(yaw)
  wall = HALF_ROOM
  _walls(axis, (-wall, 0), 2 * wall, CEILING)
  _axes(axis, (-1.25, 0.9), ('', 'z'))
  axis.text(-1.18, 0.97, 'horizontal, where yaw points', fontsize=7)
  for n in (1, 0):
    pitch = poses[n, 4]
    ahead = (math.cos(pitch), math.sin(pitch))
    _arrow(axis, (start, z), ahead, _INKS[n], '' if n else '1, 2')
  for n, name in enumerate(('pitch > 0', 'pitch < 0')):
    pitch = poses[n, 4]
    _angle(axis, (start, z), pitch, name, _INKS[n], (0.74, pitch))
  axis.set_title('From the side: pitch is above 0 for a look upwards')


def _walls(
  axis: Axes, corner: tuple[float, float], width: float, height: float
) -> None:
  axis.add_patch(
    patches.Rectangle(corner, width, height, fc=_GREY, ec=style.INK, lw=1.2)
  )
  margin = 0.06
  axis.set(
    xlim=(corner[0] - margin, corner[0] + width + margin),
    ylim=(corner[1] - margin, corner[1] + height + margin),
    aspect='equal',
  )
  axis.axis('off')


def _axes(
  axis: Axes, origin: tuple[float, float], names: tuple[str, str]
) -> None:
  """The two axes of a panel, and their names."""
  for name, way in zip(names, np.eye(2), strict=True):
    end = origin + 0.42 * way
    axis.annotate(
      '', end, origin, arrowprops={'arrowstyle': '-|>', 'color': style.INK}
    )
    axis.text(
      *(end + 0.07 * way), name, ha='center', va='center', weight='bold'
    )


def _arrow(
  axis: Axes,
  place: tuple[float, float],
  ahead: tuple[float, float],
  ink: str,
  name: str,
) -> None:
  """A camera: what it sees, cut off, and where it looks."""
  degrees = math.degrees(math.atan2(ahead[1], ahead[0]))
  half = dice.FIELD_OF_VIEW / 2
  axis.add_patch(
    patches.Wedge(place, 0.5, degrees - half, degrees + half, fc=ink,
                  ec='none', alpha=0.22)
  )  # fmt: skip
  end = np.add(place, np.multiply(_RAY, ahead))
  axis.annotate('', end, place, arrowprops={'arrowstyle': '-|>', 'color': ink})
  axis.text(
    *np.subtract(place, np.multiply(0.14, ahead)), name, color=ink,
    ha='center', va='center', weight='bold',
  )  # fmt: skip


def _angle(
  axis: Axes,
  place: tuple[float, float],
  angle: float,
  name: str,
  ink: str,
  at: tuple[float, float],
) -> None:
  """An arc from the horizontal of a panel, and its name.

  at: distance and angle of the name from `place`.
  """
  axis.plot(
    [place[0], place[0] + 1.05 * _RAY], [place[1]] * 2, ':', color=ink, lw=1
  )
  degrees = np.degrees(sorted((0.0, angle)))
  arc = patches.Arc(
    place, 0.8, 0.8, theta1=degrees[0], theta2=degrees[1], color=ink, lw=1.2
  )
  axis.add_patch(arc)
  distance, way = at
  axis.text(
    place[0] + distance * math.cos(way), place[1] + distance * math.sin(way),
    name, color=ink, va='center', fontsize=7.5,
  )  # fmt: skip
