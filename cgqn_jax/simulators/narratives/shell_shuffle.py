"""Shell Shuffle: three shapes change lanes behind a panel.

A narrative that the paper does not have. The lanes are decided once, so that
all frames after the panel must agree.
"""

from collections.abc import Sequence
import itertools

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.stories import (
  NUM_KINDS,
  PANEL,
  PANEL_COLOR,
  RADII,
  Cast,
  Narrative,
  Stage,
  Story,
  colors_but,
)

NUM_FRAMES = 21
LANES = (1 / 6, 3 / 6, 5 / 6)
SHAPES = range(len(LANES))  # the panel is the last shape
NUM_SIZES = 3
EDGE = 0.1  # where the shapes begin, from the left or from the right
PANEL_HALF_WIDTH = 0.17
HIDDEN = (8, 12)  # the frames in which the lanes change


def begin(draws: Draws) -> Cast:
  """Three shapes of distinct colors, one in each lane, and the panel."""
  kind, size, color = [], [], []
  for _ in SHAPES:
    kind.append(draws.below(NUM_KINDS))
    size.append(draws.below(NUM_SIZES))
    color.append(draws.choice(colors_but(color)))
  x = (EDGE, 1 - EDGE)[draws.below(2)]
  return Cast(
    kind=[*kind, PANEL],
    size=[*size, -1],
    color=[*color, PANEL_COLOR],
    radius=[*(RADII[s] for s in size), PANEL_HALF_WIDTH],
    place=[*((x, lane) for lane in LANES), (0.5, 0.5)],
  )


def choose(draws: Draws, cast: Cast) -> list[int]:
  """By shape, the lane in which it comes out."""
  del cast
  return draws.permutation(len(LANES))


def play(cast: Cast, lanes: Sequence[int]) -> Story:
  """In on one side, out on the other; events: the lanes."""
  stage = Stage(cast, NUM_FRAMES)
  for shape, lane in zip(SHAPES, lanes, strict=True):
    x, y = stage.paths[shape][0]
    stage.move(shape, (0.5, y), 0, HIDDEN[0])
    stage.move(shape, (0.5, LANES[lane]), *HIDDEN)
    stage.move(shape, (1 - x, LANES[lane]), HIDDEN[1], NUM_FRAMES - 1)
  return stage.story(order=range(len(LANES) + 1), events=lanes)


SHELL_SHUFFLE = Narrative(
  name='shell_shuffle',
  stream=4,
  num_frames=NUM_FRAMES,
  num_shapes=len(LANES) + 1,
  begin=begin,
  choose=choose,
  play=play,
  alternatives=lambda cast: (
    (range(len(LANES) + 1), list(lanes))
    for lanes in itertools.permutations(range(len(LANES)))
  ),
)
