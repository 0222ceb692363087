"""Textures of walls and floor: periodic grey maps (paper, section 4.2)."""

from collections.abc import Sequence

import numpy as np

KINDS = ('plain', 'stripes', 'checker', 'bricks', 'dots', 'waves', 'noise')
FREQUENCIES = (2, 4, 8)  # periods in a tile
SIDE = 64  # of a map, in texels
NUM_WAVES = 24  # of the noise

_PLACE = (np.arange(SIDE) + 0.5) / SIDE
_X, _Y = _PLACE[None, :], _PLACE[:, None]
# The noise has this many times the texture's frequency; amplitude 1 / this.
_OCTAVES = 2.0 ** np.linspace(-1, 2, NUM_WAVES)


def texture(
  kind: int, frequency: int, waves: Sequence[tuple[float, float]]
) -> np.ndarray:
  """A map that tiles the plane: 0 is a surface's first color, 255 its second.

  Args:
    kind: index of `KINDS`.
    frequency: index of `FREQUENCIES`.
    waves: angle and phase of each of the noise's waves, of [0, 1) turns.

  Returns:
    [64, 64] uint8; row v, column u.
  """
  periods = FREQUENCIES[frequency]
  if KINDS[kind] == 'noise':
    level = _noise(periods, np.array(waves))
  else:
    level = _PATTERNS[kind](periods)
  level = np.broadcast_to(np.clip(level, 0, 1), (SIDE, SIDE))
  return np.floor(255 * level + 0.5).astype(np.uint8)


def _plain(periods: int) -> np.ndarray:
  return np.zeros((1, 1))


def _stripes(periods: int) -> np.ndarray:
  return np.floor(2 * periods * _X) % 2


def _checker(periods: int) -> np.ndarray:
  return (np.floor(2 * periods * _X) + np.floor(2 * periods * _Y)) % 2


def _bricks(periods: int) -> np.ndarray:
  row = np.floor(2 * periods * _Y)
  x = (periods * _X + 0.5 * (row % 2)) % 1 / periods
  y = (2 * periods * _Y) % 1 / (2 * periods)
  mortar = max(0.12 / (2 * periods), 1 / SIDE)
  return np.where((x < mortar) | (y < mortar), 1.0, 0.0)


def _dots(periods: int) -> np.ndarray:
  x, y = (2 * periods * p % 1 - 0.5 for p in (_X, _Y))
  edge = SIDE / (2 * periods)  # texels in a cell
  return 0.5 + edge * (0.32 - np.sqrt(x * x + y * y))


def _waves(periods: int) -> np.ndarray:
  bend = 0.5 * np.sin(2 * np.pi * periods * _Y)
  return 0.5 + 0.8 * np.sin(2 * np.pi * (periods * _X) + 2 * bend)


_PATTERNS = _plain, _stripes, _checker, _bricks, _dots, _waves


def _noise(periods: int, waves: np.ndarray) -> np.ndarray:
  """A sum of waves whose amplitude falls as 1 / frequency."""
  turn, phase = 2 * np.pi * waves.T
  # Whole periods in both directions, or the map would not tile.
  u, v = np.round(periods * _OCTAVES * np.stack([np.cos(turn), np.sin(turn)]))
  along_x = np.exp(2j * np.pi * _PLACE[:, None] * u)
  along_y = np.exp(1j * (2 * np.pi * _PLACE[:, None] * v + phase)) / _OCTAVES
  spread = np.sqrt(0.5 * np.sum(_OCTAVES**-2.0))
  return 0.5 + (along_y @ along_x.T).real / (4 * spread)
