"""Color Relay: one new color is handed on, from touch to touch.

A narrative that the paper does not have. The color is a latent that many
frames share: any two late frames of one future must agree on it.
"""

from collections.abc import Iterator, Sequence
import itertools
from typing import NamedTuple

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.placement import random_cast
from cgqn_jax.simulators.narratives.stories import (
  Cast,
  Narrative,
  Stage,
  Story,
  all_roles,
  colors_but,
)

NUM_SHAPES = 4
LEG = 5
NUM_FRAMES = NUM_SHAPES * LEG + 1
CLOSENESS = 0.6


class Relay(NamedTuple):
  """The runners in their order, and the color that they hand on."""

  runners: Sequence[int]
  color: int


def choose(draws: Draws, cast: Cast) -> Relay:
  """Shape 0 begins; the color is one that no shape has."""
  runners = [0, *(1 + i for i in draws.permutation(NUM_SHAPES - 1))]
  return Relay(runners, draws.choice(colors_but(cast.color)))


def play(cast: Cast, relay: Relay) -> Story:
  """Four touches, the last one of the first runner; events: runners, color."""
  stage, runners = Stage(cast, NUM_FRAMES), relay.runners
  for leg, runner in enumerate(runners):
    target = runners[(leg + 1) % NUM_SHAPES]
    last = (leg + 1) * LEG
    stage.approach(runner, target, CLOSENESS, leg * LEG, last)
    stage.recolor(target, relay.color, min(last + 1, NUM_FRAMES - 1))
  return stage.story(order=runners[::-1], events=[*runners, relay.color])


def alternatives(cast: Cast) -> Iterator[tuple[list[int], Relay]]:
  """Any shape may begin, in any order of the others, with any new color."""
  colors = colors_but(cast.color)
  for roles in all_roles(NUM_SHAPES):
    for others in itertools.permutations(range(1, NUM_SHAPES)):
      for color in colors:
        yield roles, Relay([0, *others], color)


COLOR_RELAY = Narrative(
  name='color_relay',
  stream=3,
  num_frames=NUM_FRAMES,
  num_shapes=NUM_SHAPES,
  begin=lambda draws: random_cast(draws, NUM_SHAPES),
  choose=choose,
  play=play,
  alternatives=alternatives,
)
