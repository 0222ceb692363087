"""What a story is, and the stage on which a narrative writes one.

Paper, section 4.1. Places are centers in the unit square, x to the right and
y down. `T` frames, `N` shapes, `E` choices.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from cgqn_jax.simulators.draws import Draws

CIRCLE, SQUARE, TRIANGLE, PENTAGON, PANEL = range(5)
NUM_KINDS = 4  # of shapes that act; the panel only hides
RADII = (4 / 64, 5 / 64, 6 / 64, 7 / 64)  # by size, 0 to 3
# A shape's circumradius, in radii: about equal areas for all kinds.
STRETCH = (1.0, 1.2, 1.3, 1.1)

PALETTE = np.array(
  [
    (230, 30, 30),  # red
    (40, 180, 60),  # green
    (45, 85, 235),  # blue
    (250, 225, 40),  # yellow
    (60, 220, 235),  # cyan
    (235, 60, 220),  # magenta
    (245, 130, 40),  # orange
    (130, 50, 190),  # purple
    (140, 85, 45),  # brown
    (250, 170, 185),  # pink
    (130, 130, 130),  # grey
    (255, 255, 255),  # white
    (89, 89, 89),  # the panel's
  ],
  np.uint8,
)
PANEL_COLOR = NUM_COLORS = len(PALETTE) - 1

Place = tuple[float, float]


class Story(NamedTuple):
  """Everything about one example: what it shows, and why.

  positions: [T, N, 2] float32, centers.
  kind: [N] int32, `CIRCLE` to `PANEL`.
  size: [N] int32, 0 to 3; -1 for props (pegs, bins, the panel).
  color: [T, N] int32, row of `PALETTE`.
  radius: [N] float32; a circle's radius, the panel's half width.
  order: [N] int32, the shapes as they are drawn: the last one is on top.
  events: [E] int32, the latent choices.
  example_id: [] int64.

  A batch of stories has a leading axis in every field.
  """

  positions: np.ndarray
  kind: np.ndarray
  size: np.ndarray
  color: np.ndarray
  radius: np.ndarray
  order: np.ndarray
  events: np.ndarray
  example_id: np.ndarray


class Cast(NamedTuple):
  """What frame 1 shows: kind, size, color, radius and place of N shapes."""

  kind: Sequence[int]
  size: Sequence[int]
  color: Sequence[int]
  radius: Sequence[float]
  place: Sequence[Place]

  @classmethod
  def of(cls, story: Story) -> 'Cast':
    """The cast of a story's own frame 1."""
    place = story.positions[0].tolist()
    fields = story.kind, story.size, story.color[0], story.radius
    return cls(*(field.tolist() for field in fields), place)

  def recast(self, roles: Sequence[int]) -> 'Cast':
    """The same shapes in other roles: shape `roles[i]` plays role i."""
    return Cast(*([field[role] for role in roles] for field in self))

  def bound(self, shape: int) -> float:
    """The shape's circumradius."""
    return self.radius[shape] * STRETCH[self.kind[shape]]


@dataclasses.dataclass(frozen=True)
class Narrative:
  """A kind of story; a new one is a file with these functions.

  begin: draws what frame 1 shows.
  choose: draws the choices that frame 1 does not show.
  play: the story that follows; no randomness left.
  alternatives: all (roles, choice) that frame 1 leaves open, equally likely;
    None where they cannot be counted.
  """

  name: str
  stream: int
  num_frames: int
  num_shapes: int
  begin: Callable[[Draws], Cast]
  choose: Callable[[Draws, Cast], Any]
  play: Callable[[Cast, Any], Story]
  alternatives: Callable[[Cast], Iterable[tuple[Sequence[int], Any]]] | None


class Stage:
  """A story being written: at first every shape rests in its place.

  paths: by shape, its place in each frame.
  colors: by shape, its color in each frame.
  """

  def __init__(self, cast: Cast, num_frames: int):
    self.cast = cast
    # Rounded before the story begins, so that the float32 positions of a
    # finished story replay it exactly.
    places = np.array(cast.place, np.float32).tolist()
    self.paths = [[(x, y)] * num_frames for x, y in places]
    self.colors = [[color] * num_frames for color in cast.color]

  def move(self, shape: int, to: Place, first: int, last: int) -> None:
    """Moves a shape in a straight line, at `to` from frame `last` on."""
    path = self.paths[shape]
    x, y = path[first]
    dx, dy = to[0] - x, to[1] - y
    for frame in range(first + 1, last):
      done = (frame - first) / (last - first)
      path[frame] = x + dx * done, y + dy * done
    path[last:] = [to] * (len(path) - last)

  def approach(
    self, shape: int, target: int, closeness: float, first: int, last: int
  ) -> None:
    """Moves a shape to contact: `closeness` of the circumradii's sum."""
    place, goal = self.paths[shape][first], self.paths[target][first]
    bounds = self.cast.bound(shape) + self.cast.bound(target)
    self.move(shape, contact(place, goal, closeness * bounds), first, last)

  def recolor(self, shape: int, color: int, first: int) -> None:
    """Gives a shape a new color from frame `first` on."""
    colors = self.colors[shape]
    colors[first:] = [color] * (len(colors) - first)

  def story(self, order: Sequence[int], events: Sequence[int]) -> Story:
    """The finished story; `order` lists the shapes from the bottom up."""
    return Story(
      positions=np.array(self.paths, np.float32).swapaxes(0, 1),
      kind=np.array(self.cast.kind, np.int32),
      size=np.array(self.cast.size, np.int32),
      color=np.array(self.colors, np.int32).T,
      radius=np.array(self.cast.radius, np.float32),
      order=np.array(order, np.int32),
      events=np.array(events, np.int32),
      example_id=np.int64(-1),
    )


def colors_but(taken: Collection[int]) -> list[int]:
  """All colors that are not taken."""
  return [color for color in range(NUM_COLORS) if color not in taken]


def all_roles(num_shapes: int) -> Iterator[list[int]]:
  """Roles in which each shape in turn plays role 0, the others in order."""
  for first in range(num_shapes):
    yield [first, *(i for i in range(num_shapes) if i != first)]


def contact(place: Place, goal: Place, distance: float) -> Place:
  """The point `distance` before the goal; `place` if that is nearer."""
  dx, dy = place[0] - goal[0], place[1] - goal[1]
  length = math.sqrt(dx * dx + dy * dy)
  if length <= distance:
    return place
  return goal[0] + distance * dx / length, goal[1] + distance * dy / length
