"""Color Reaction: touched by another, a shape changes color (section 4.1)."""

from collections.abc import Iterator
import itertools
import math

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.placement import random_cast, random_places
from cgqn_jax.simulators.narratives.stories import (
  Cast,
  Narrative,
  Stage,
  Story,
  colors_but,
)

NUM_FRAMES = 12
ACTOR, REACTOR = 0, 1
ROAD = 12 / 64  # between the two shapes at least, or there is nothing to see
CLOSENESS = 0.85
CONTACT, REACTION = 5, 6  # frames, counted from 0


def begin(draws: Draws) -> Cast:
  """Two random shapes, some way apart."""
  cast = random_cast(draws, 2)
  bounds = [cast.bound(ACTOR), cast.bound(REACTOR)]
  while math.dist(*cast.place) < sum(bounds) + ROAD:
    cast = cast._replace(place=random_places(draws, bounds))
  return cast


def choose(draws: Draws, cast: Cast) -> int:
  """A color that the touched shape does not have."""
  return draws.choice(colors_but([cast.color[REACTOR]]))


def play(cast: Cast, color: int) -> Story:
  """Contact in F6, the new color from F7 on; events: the new color."""
  stage = Stage(cast, NUM_FRAMES)
  stage.approach(ACTOR, REACTOR, CLOSENESS, 0, CONTACT)
  stage.recolor(REACTOR, color, REACTION)
  return stage.story(order=[REACTOR, ACTOR], events=[color])


def alternatives(cast: Cast) -> Iterator[tuple[tuple[int, int], int]]:
  """Either shape may be the one that moves, to any new color of the other."""
  for roles in itertools.permutations((ACTOR, REACTOR)):
    for color in colors_but([cast.color[roles[REACTOR]]]):
      yield roles, color


COLOR_REACTION = Narrative(
  name='color_reaction',
  stream=1,
  num_frames=NUM_FRAMES,
  num_shapes=2,
  begin=begin,
  choose=choose,
  play=play,
  alternatives=alternatives,
)
