"""DAG: three shapes chase others that chase the root (paper, section 4.1)."""

from collections.abc import Sequence
import math
from typing import NamedTuple

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.placement import random_cast, random_place
from cgqn_jax.simulators.narratives.stories import (
  Cast,
  Narrative,
  Place,
  Stage,
  Story,
  contact,
)

NUM_SHAPES, NUM_FRAMES = 4, 21
WAY_POINT_FRAMES = (0, 10, 20)
LEG_LENGTH = (0.3, 0.6)
STEP = 0.035  # of a chaser, a frame at most
CLOSENESS = 0.85


class Chase(NamedTuple):
  """rank: the root, then every shape after the one it chases.

  parent: by shape, -1 for the root.  route: the root's two way-points.
  """

  rank: Sequence[int]
  parent: Sequence[int]
  route: Sequence[Place]


def choose(draws: Draws, cast: Cast) -> Chase:
  """A random recursive tree, and where its root goes."""
  rank = draws.permutation(NUM_SHAPES)
  parent = [-1] * NUM_SHAPES
  for j in range(1, NUM_SHAPES):
    parent[rank[j]] = draws.choice(rank[:j])
  root = rank[0]
  route = [cast.place[root]]
  for _ in WAY_POINT_FRAMES[1:]:
    point = random_place(draws, cast.bound(root))
    while not LEG_LENGTH[0] <= math.dist(route[-1], point) <= LEG_LENGTH[1]:
      point = random_place(draws, cast.bound(root))
    route.append(point)
  return Chase(rank, parent, route[1:])


def play(cast: Cast, chase: Chase) -> Story:
  """Each chaser goes where its parent was; events: the parents."""
  stage = Stage(cast, NUM_FRAMES)
  root, *chasers = chase.rank
  legs = zip(WAY_POINT_FRAMES, WAY_POINT_FRAMES[1:], strict=False)
  for (first, last), point in zip(legs, chase.route, strict=True):
    stage.move(root, point, first, last)
  for shape in chasers:
    parent = chase.parent[shape]
    bounds = cast.bound(shape) + cast.bound(parent)
    path = stage.paths[shape]
    for frame, goal in enumerate(stage.paths[parent][:-1]):
      there = contact(path[frame], goal, CLOSENESS * bounds)
      path[frame + 1] = _step(path[frame], there)
  return stage.story(order=chase.rank[::-1], events=chase.parent)


def _step(here: Place, there: Place) -> Place:
  length = math.dist(here, there)
  share = STEP / length if length > STEP else 1.0
  return (
    here[0] + share * (there[0] - here[0]),
    here[1] + share * (there[1] - here[1]),
  )


DAG_CHASE = Narrative(
  name='dag_chase',
  stream=2,
  num_frames=NUM_FRAMES,
  num_shapes=NUM_SHAPES,
  begin=lambda draws: random_cast(draws, NUM_SHAPES),
  choose=choose,
  play=play,
  alternatives=None,  # the way-points are continuous
)
