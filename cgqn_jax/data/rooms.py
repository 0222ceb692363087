"""Few rooms of many photographs become scenes of training, validation, test.

Where there are too few rooms to hold out whole ones, some photographs of each
are held out; what is learned is then these rooms, and no others. A scene of
training is some of a room's other photographs, in no order. One of validation
or test begins with photographs of training, which are its context in tables,
and ends with the held out ones.
"""

from collections.abc import Mapping
import math
from typing import NamedTuple
import zlib

import numpy as np

FEW = 10  # rooms, below which photographs are held out instead
SEEN = 6  # photographs that a scene of validation or test begins with
LEAST = 10  # photographs of a room
_HELD, _MOST_HELD = 0.1, 20  # out, for each of the two: a share, and at most
# Scenes of training in all, and uses of each photograph, at least; scenes of
# each room for validation, and for test.
_SCENES, _USES, _LOOKS = 64, 4, 4


class Part(NamedTuple):
  """One scene.

  split: in which it is.
  room: the name of what it is of.
  chosen: [F] indices of the room's photographs, in this order.
  """

  split: str
  room: str
  chosen: np.ndarray


def divided(counts: Mapping[str, int]) -> list[Part]:
  """Scenes of equally many photographs; the same for the same rooms.

  Args:
    counts: of the photographs of each room, by its name.

  Raises:
    ValueError: for a room of too few.
  """
  for name, count in counts.items():
    if count < LEAST:
      raise ValueError(
        f'{name} has {count} photographs; where there are fewer than {FEW} '
        f'rooms, each must have {LEAST}, so that some can be held out'
      )
  held = min(_MOST_HELD, round(_HELD * min(counts.values())))
  parts = []
  for name, count in counts.items():
    rng = _rng(name)
    order = rng.permutation(count)
    out = {'validation': order[:held], 'test': order[held : 2 * held]}
    seen, size = order[2 * held :], SEEN + held
    wanted = max(_SCENES / len(counts), _USES * len(seen) / size)
    chosen = []
    while len(chosen) < wanted:
      mixed = rng.permutation(seen)
      chosen += np.split(mixed[: len(seen) // size * size], len(seen) // size)
    parts += [Part('train', name, x) for x in chosen[: math.ceil(wanted)]]
    for split, last in out.items():
      for _ in range(_LOOKS):
        first = rng.permutation(seen)[:SEEN]
        parts.append(Part(split, name, np.append(first, last)))
  return parts


def mixed(name: str, count: int) -> np.ndarray:
  """An order of a room's photographs in which any few are from all over it."""
  return _rng(name).permutation(count)


def _rng(name: str) -> np.random.Generator:
  return np.random.default_rng(zlib.crc32(name.encode()))
