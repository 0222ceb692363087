"""A ring of cameras like those of some photographs: a turntable's way.

Photographs of a room are mostly taken around its middle, looking in, or from
its middle, looking out. The ring has their usual distance, height and pitch.
"""

import math
from typing import NamedTuple

import numpy as np

_SPREAD = 0.01  # least share of variance in which directions must differ
_AGREE = 0.5  # least mean cosine to the middle, or away from it
WIDEST = 90  # degrees of the ring without a camera that pass without a note


class Ring(NamedTuple):
  """Where the cameras of a turntable stand.

  x, y: the middle;  radius: from there;  height: z.
  pitch: of all cameras, in radians.
  inward: whether they look to the middle, or away from it.
  azimuths: [N] degrees, where the given cameras stand, sorted.
  """

  x: float
  y: float
  radius: float
  height: float
  pitch: float
  inward: bool
  azimuths: np.ndarray


def fit(views: np.ndarray) -> Ring:
  """The ring of cameras [N, 7].

  Its middle is the point that is nearest to all their directions, seen from
  above; radius, height and pitch are medians.

  Raises:
    ValueError: in one line, where the cameras have no such middle.
  """
  place, (sin, cos) = views[:, :2].astype(np.float64), views[:, 3:5].T
  ahead = np.stack([cos, sin], axis=-1).astype(np.float64)
  # Squared distances to the directions' lines: across = I - ahead ahead'.
  across = np.eye(2) - ahead[:, :, None] * ahead[:, None, :]
  if np.linalg.eigvalsh(across.mean(0))[0] < _SPREAD:
    raise ValueError('the cameras look nearly all one way')
  middle = np.linalg.solve(across.sum(0), (across @ place[:, :, None]).sum(0))
  out = place - middle[:, 0]
  distance = np.hypot(*out.T)
  radius = float(np.median(distance))
  turned = np.degrees(np.arctan2(*out.T[::-1]))
  if radius < 1e-3 * max(1.0, float(np.abs(views[:, :3]).max())):
    # All from one place: where they look is where they would stand.
    radius, away = 0.0, 1.0
    turned = np.degrees(np.arctan2(sin, cos))
  else:
    away = float(np.mean(np.sum(out * ahead, -1) / np.maximum(distance, 1e-9)))
  if abs(away) < _AGREE:
    raise ValueError('the cameras look neither to a middle nor away from one')
  pitch = np.arctan2(views[:, 5], views[:, 6])
  return Ring(
    x=float(middle[0, 0]),
    y=float(middle[1, 0]),
    radius=radius,
    height=float(np.median(views[:, 2])),
    pitch=float(np.median(pitch)),
    inward=away < 0,
    azimuths=np.sort(turned % 360),
  )


def around(ring: Ring, count: int) -> np.ndarray:
  """`count` cameras once around, from azimuth 0 on: [count, 7] float32."""
  azimuth = 2 * math.pi * np.arange(count) / count
  yaw = azimuth + (math.pi if ring.inward else 0.0)
  one = np.ones(count)
  columns = [
    ring.x + ring.radius * np.cos(azimuth),
    ring.y + ring.radius * np.sin(azimuth),
    ring.height * one,
    np.sin(yaw),
    np.cos(yaw),
    math.sin(ring.pitch) * one,
    math.cos(ring.pitch) * one,
  ]
  return np.stack(columns, axis=-1).astype(np.float32)


def gap(ring: Ring) -> tuple[float, float]:
  """The azimuths between which no camera stands for the longest, in degrees."""
  ends = np.append(ring.azimuths, ring.azimuths[0] + 360)
  longest = int(np.argmax(np.diff(ends)))
  return float(ends[longest]), float(ends[longest + 1])
