"""Traveling Salesman: a shape visits four others (paper, section 4.1).

Each leg takes five frames, so the visits are seen in F6, F11, F16 and F21.
"""

from collections.abc import Sequence
import itertools
import math

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.placement import random_cast
from cgqn_jax.simulators.narratives.stories import (
  Cast,
  Narrative,
  Stage,
  Story,
  all_roles,
)

NUM_SHAPES = 5
ACTOR, *TARGETS = range(NUM_SHAPES)
LEG = 5
NUM_FRAMES = len(TARGETS) * LEG + 1
# The actor covers most of its target: with 0.85 instead, one leg in three
# videos is shorter than four pixels, and the visit is not seen.
CLOSENESS = 0.35


def begin(draws: Draws) -> Cast:
  """Five random shapes; shape 0 is the salesman."""
  return random_cast(draws, NUM_SHAPES)


def choose_order(draws: Draws, cast: Cast) -> list[int]:
  """Any order of the four targets."""
  del cast
  return [TARGETS[i] for i in draws.permutation(len(TARGETS))]


def play_order(cast: Cast, order: Sequence[int]) -> Story:
  """The tour; events: the targets in the order of the visits."""
  stage = Stage(cast, NUM_FRAMES)
  for leg, target in enumerate(order):
    _visit(stage, leg, target)
  return stage.story(order=[*TARGETS, ACTOR], events=order)


def play_greedy(cast: Cast, choice: None) -> Story:
  """The tour to the nearest unvisited shape, measured center to center."""
  del choice
  stage, order = Stage(cast, NUM_FRAMES), []
  for leg in range(len(TARGETS)):
    here = stage.paths[ACTOR][leg * LEG]
    unvisited = (target for target in TARGETS if target not in order)
    nearest = min(
      unvisited,
      key=lambda target: math.dist(here, stage.paths[target][0]),
    )
    order.append(nearest)
    _visit(stage, leg, nearest)
  return stage.story(order=[*TARGETS, ACTOR], events=order)


def _visit(stage: Stage, leg: int, target: int) -> None:
  stage.approach(ACTOR, target, CLOSENESS, leg * LEG, (leg + 1) * LEG)


TRAVELING_SALESMAN = Narrative(
  name='traveling_salesman',
  stream=0,
  num_frames=NUM_FRAMES,
  num_shapes=NUM_SHAPES,
  begin=begin,
  choose=choose_order,
  play=play_order,
  alternatives=lambda cast: itertools.product(
    all_roles(NUM_SHAPES), map(list, itertools.permutations(TARGETS))
  ),
)

GREEDY_SALESMAN = Narrative(
  name='greedy_salesman',
  stream=6,
  num_frames=NUM_FRAMES,
  num_shapes=NUM_SHAPES,
  begin=begin,
  choose=lambda draws, cast: None,
  play=play_greedy,
  alternatives=lambda cast: ((roles, None) for roles in all_roles(NUM_SHAPES)),
)
