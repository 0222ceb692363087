"""Which views of a dice room are context and which targets (section 4.2).

One of the four sides of the cube is hidden: no context view shows a pixel of
it, the targets do. What is on it can only be sampled, and must then be the
same in all targets.
"""

from typing import NamedTuple

import numpy as np

SIDES = 4  # of the six faces, those that are neither top nor bottom
# The tables: five views that show the other sides, three of the hidden one.
TEST_CONTEXT = 5
TEST_TARGETS = 3
# A view shows a side if it has this many pixels in it; of 64x64.
_SHOWN = 150


class Views(NamedTuple):
  """The hidden side, and the indices of the views."""

  side: int
  context: np.ndarray
  targets: np.ndarray


def shows(face_pixels: np.ndarray, frame_size: int) -> np.ndarray:
  """Which views [N, 4] show a side well, from face_pixels [N, 6]."""
  return face_pixels[:, :SIDES] >= _SHOWN * (frame_size / 64) ** 2


def for_training(
  face_pixels: np.ndarray,
  frame_size: int,
  rng: np.random.Generator,
  context: tuple[int, int],
  max_targets: int,
) -> Views:
  """A random side, contexts that never show it, a first target that does.

  Args:
    face_pixels: [N, 6] pixels of each face in each view.
    frame_size: of these views.
    rng: all randomness comes from here.
    context: least and greatest number of context views.
    max_targets: U{1..this} targets; those after the first are any views.

  Raises:
    ValueError: if no side of the scene can be hidden so.
  """
  shown, absent = shows(face_pixels, frame_size), face_pixels[:, :SIDES] == 0
  least, greatest = context
  possible = shown.any(0) & (absent.sum(0) >= least)
  side = int(rng.choice(_checked(possible)))
  unseen = rng.permutation(np.flatnonzero(absent[:, side]))
  size = rng.integers(least, min(greatest, len(unseen)) + 1)
  first = rng.choice(np.flatnonzero(shown[:, side]))
  others = np.setdiff1d(np.arange(len(face_pixels)), [first])
  count = rng.integers(max_targets)
  targets = np.append(first, rng.permutation(others)[:count])
  return Views(side, unseen[:size], targets)


def for_tables(
  face_pixels: np.ndarray, frame_size: int, example_id: int
) -> Views:
  """The same views of this example in every run.

  The context shows each of the other three sides in one of its five views at
  least; the three targets all show the hidden one.

  Raises:
    ValueError: if no side of the scene can be hidden so.
  """
  rng = np.random.default_rng(example_id)
  shown, absent = shows(face_pixels, frame_size), face_pixels[:, :SIDES] == 0
  possible = shown.sum(0) >= TEST_TARGETS
  possible &= absent.sum(0) >= TEST_CONTEXT
  for side in range(SIDES):
    seen = shown[absent[:, side]].any(0)
    possible[side] &= np.delete(seen, side).all()
  side = int(rng.choice(_checked(possible)))
  unseen = rng.permutation(np.flatnonzero(absent[:, side]))
  # The first view that shows it well, for each of the others.
  needed = {
    int(unseen[np.argmax(shown[unseen, other])])
    for other in range(SIDES)
    if other != side
  }
  rest = [view for view in unseen if view not in needed]
  context = sorted(needed) + rest[: TEST_CONTEXT - len(needed)]
  targets = rng.permutation(np.flatnonzero(shown[:, side]))[:TEST_TARGETS]
  return Views(side, np.array(context, int), targets)


def _checked(possible: np.ndarray) -> np.ndarray:
  if not possible.any():
    raise ValueError(
      'no side of the cube in this scene can be hidden: the views must show '
      'one that enough others do not'
    )
  return np.flatnonzero(possible)
