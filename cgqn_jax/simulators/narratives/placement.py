"""Random shapes in places where frame 1 shows all of each (section 4.1)."""

from collections.abc import Sequence

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.stories import (
  NUM_COLORS,
  NUM_KINDS,
  RADII,
  STRETCH,
  Cast,
  Place,
)

GAP = 3 / 64  # kept free between two shapes, and to the frame's edge
_TRIES = 200


def random_cast(draws: Draws, num_shapes: int) -> Cast:
  """Shapes of independent uniform kind, size, color that do not overlap."""
  kind, size, color = [], [], []
  for _ in range(num_shapes):
    kind.append(draws.below(NUM_KINDS))
    size.append(draws.below(len(RADII)))
    color.append(draws.below(NUM_COLORS))
  radius = [RADII[s] for s in size]
  bounds = [r * STRETCH[k] for r, k in zip(radius, kind, strict=True)]
  return Cast(kind, size, color, radius, random_places(draws, bounds))


def random_places(draws: Draws, bounds: Sequence[float]) -> list[Place]:
  """Centers of shapes of these circumradii, by sequential rejection."""
  while True:
    places = []
    for bound in bounds:
      place = _free_place(draws, bound, places, bounds)
      if place is None:
        break
      places.append(place)
    else:
      return places


def random_place(draws: Draws, bound: float) -> Place:
  """A center that keeps a circumradius inside the frame."""
  low, high = bound + GAP, 1 - bound - GAP
  return draws.uniform(low, high), draws.uniform(low, high)


def _free_place(
  draws: Draws,
  bound: float,
  places: Sequence[Place],
  bounds: Sequence[float],
) -> Place | None:
  for _ in range(_TRIES):
    x, y = random_place(draws, bound)
    # `places` is a prefix of `bounds`: only the shapes placed so far.
    for (other_x, other_y), other in zip(places, bounds, strict=False):
      apart = bound + other + GAP
      if (x - other_x) ** 2 + (y - other_y) ** 2 <= apart * apart:
        break
    else:
      return x, y
  return None
