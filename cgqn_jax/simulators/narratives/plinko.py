"""Plinko: a ball falls left or right of four pegs, into one of five bins.

A narrative that the paper does not have. Frames that are sampled without
regard to each other show a ball that jumps.
"""

from collections.abc import Sequence
import itertools

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.stories import (
  CIRCLE,
  NUM_COLORS,
  NUM_KINDS,
  RADII,
  SQUARE,
  Cast,
  Narrative,
  Place,
  Stage,
  Story,
  colors_but,
)

ROWS, LEG = 4, 5
NUM_FRAMES = ROWS * LEG + 1
TOP, DROP, BINS_AT = 0.14, 0.17, 0.95  # the ball's start, its fall a row
PEG_BELOW = 0.62  # of a drop, from where the ball decides
PEGS = [(row, j) for row in range(ROWS) for j in range(row + 1)]
BALL, FIRST_BIN = 0, 1 + len(PEGS)
NUM_SHAPES = FIRST_BIN + ROWS + 1
PEG_RADIUS, BIN_RADIUS = 1.6 / 64, 2.4 / 64


def begin(draws: Draws) -> Cast:
  """A ball above a board of pegs, with the bins at the bottom."""
  kind = draws.below(NUM_KINDS)
  color = draws.below(NUM_COLORS)
  board = draws.choice(colors_but([color]))
  center = draws.uniform(0.45, 0.55)
  spacing = draws.uniform(0.075, 0.09)
  turns = draws.below(4)
  place = [(center, TOP)]
  for row, j in PEGS:
    place.append(
      (center + (2 * j - row) * spacing, TOP + DROP * (row + PEG_BELOW))
    )
  for j in range(ROWS + 1):
    place.append((center + (2 * j - ROWS) * spacing, BINS_AT))
  pegs, bins = len(PEGS), ROWS + 1
  return Cast(
    kind=[kind, *[CIRCLE] * pegs, *[SQUARE] * bins],
    size=[0, *[-1] * (pegs + bins)],
    color=[color, *[board] * (pegs + bins)],
    radius=[RADII[0], *[PEG_RADIUS] * pegs, *[BIN_RADIUS] * bins],
    place=[_turn(p, turns) for p in place],
  )


def choose(draws: Draws, cast: Cast) -> list[int]:
  """Left (0) or right (1) at each row."""
  del cast
  return [draws.below(2) for _ in range(ROWS)]


def play(cast: Cast, path: Sequence[int]) -> Story:
  """The fall; events: the path, whose sum is the bin."""
  stage = Stage(cast, NUM_FRAMES)
  # The board may be turned: its axes are read off the shapes themselves.
  x, y = stage.paths[BALL][0]
  left, right = stage.paths[FIRST_BIN][0], stage.paths[-1][0]
  across = (right[0] - left[0]) / 8, (right[1] - left[1]) / 8
  rows = (BINS_AT - TOP) / DROP
  bottom = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
  down = (bottom[0] - x) / rows, (bottom[1] - y) / rows
  for row, choice in enumerate(path):
    side = 2 * choice - 1
    x, y = x + down[0] + side * across[0], y + down[1] + side * across[1]
    stage.move(BALL, (x, y), row * LEG, (row + 1) * LEG)
  stage.recolor(FIRST_BIN + sum(path), cast.color[BALL], NUM_FRAMES - 1)
  return stage.story(order=range(NUM_SHAPES - 1, -1, -1), events=path)


def _turn(place: Place, quarters: int) -> Place:
  x, y = place
  for _ in range(quarters):
    x, y = 1 - y, x
  return x, y


PLINKO = Narrative(
  name='plinko',
  stream=5,
  num_frames=NUM_FRAMES,
  num_shapes=NUM_SHAPES,
  begin=begin,
  choose=choose,
  play=play,
  alternatives=lambda cast: (
    (range(NUM_SHAPES), list(path))
    for path in itertools.product((0, 1), repeat=ROWS)
  ),
)
