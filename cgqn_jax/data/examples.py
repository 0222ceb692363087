"""What every source hands on: one scene on the host, and its views.

A view is a timestamp for videos (paper, section 4.1) and a camera for rooms
(section 4.2).
"""

from collections.abc import Sequence
import sys
from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.types import Array

POSE, CAMERA = 5, 7  # numbers of (x, y, z, yaw, pitch), and of the view of it
# Of the numbers of views that the networks can use: the latest timestamp (the
# networks see it by waves of period 2 and less), the largest of a camera, and
# the least difference in a scene.
_LATEST, _LARGEST, _LEAST_SPREAD = 2.0, 100.0, 1e-3


class Example(NamedTuple):
  """One scene on the host.

  shown: a tree of arrays [N, ...], one row per frame: the frames themselves,
    or what the simulator draws them from.
  fixed: a tree of arrays that hold for all frames.
  views: [N, V] float32.
  example_id: int.
  face_pixels: [N, 6] uint16, the pixels of every face of a die; else None.
  """

  shown: Any
  fixed: Any
  views: np.ndarray
  example_id: int
  face_pixels: np.ndarray | None = None


class Source(Protocol):
  """Random access to the scenes of one split.

  It knows nothing of context or target.
  """

  split: str

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> Example: ...

  def to_frames(self, shown: Any, fixed: Any) -> Array:
    """Batched rows [B, N, ...] -> uint8 frames [B, N, H, W, 3].

    What is stored as frames is one already; a simulator draws them.
    """
    del fixed
    return shown


def timestamps(num_frames: int, count: int | None = None) -> np.ndarray:
  """The views of a video: i / (N - 1), [N, 1] (paper, section 4.1).

  A shorter one has the first `count` of them: time passes as fast in all.
  """
  last = max(num_frames - 1, 1)
  times = (np.arange(num_frames) / last).astype(np.float32)[:, None]
  return times[:count]


def cameras(poses: np.ndarray) -> np.ndarray:
  """(x, y, z, yaw, pitch) [N, 5] in radians -> [N, 7].

  The order is that of `Scene.views`: x, y, z, sin yaw, cos yaw, sin pitch,
  cos pitch.
  """
  position, (yaw, pitch) = poses[:, :3], poses[:, 3:].T
  with np.errstate(invalid='ignore'):  # of infinity; `checked_views` refuses
    angles = [np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)]
  return np.column_stack([position, *angles])


def check_frames(
  config: ConfigDict, shape: tuple[int, ...], where: Any
) -> None:
  """ValueError unless a video's shape is what the config says."""
  size = config.data.frame_size
  expected = (config.data.num_frames, size, size, 3)
  if tuple(shape) != expected:
    raise ValueError(
      f'{where}: a video is {list(shape)}; data.num_frames and '
      f'data.frame_size ask for {list(expected)}'
    )


def checked_views(
  config: ConfigDict,
  views: np.ndarray,
  where: Any,
  count: int | None = None,
) -> np.ndarray:
  """Views as float32; ValueError unless they are what the networks can use.

  They must be of the width that the config says, finite, and not all equal;
  those that differ must still differ as float32, which has 7 digits. There are
  data.num_frames of them, or `count` in a shorter scene.
  """
  expected = (count or config.data.num_frames, config.data.view_size)
  if views.shape != expected:
    raise ValueError(
      f'{where}: views are {list(views.shape)}; data.num_frames and '
      f'data.view_size ask for {list(expected)}'
    )
  with np.errstate(over='ignore'):
    single = views.astype(np.float32)
  if not np.all(np.isfinite(single)):
    raise ValueError(f'{where}: a view is not finite')
  different, left = (len(np.unique(x, axis=0)) for x in (views, single))
  span = f'{views.min():.10g} to {views.max():.10g}'
  if left < different:
    raise ValueError(
      f'{where}: {different} views differ, but as float32, which has 7 digits, '
      f'only {left} ({span}); count them from the start of the scene, in units '
      'that make them about -1 to 1'
    )
  if left == 1 < len(views):
    raise ValueError(
      f'{where}: all {len(views)} views are equal ({span}); they must tell the '
      'frames apart'
    )
  return single


def note_scale(views: Sequence[np.ndarray], where: Sequence[Any]) -> None:
  """Says in one line where views are far from what the networks can use.

  They take sines of views, and the numbers themselves beside activations of
  size 1.
  """
  far = [
    n
    for n, x in enumerate(views)
    if np.abs(x).max() > (_LATEST if x.shape[1] == 1 else _LARGEST)
    or (len(x) > 1 and np.ptp(x, axis=0).max() < _LEAST_SPREAD)
  ]
  if not far:
    return
  first = views[far[0]]
  print(
    f'note: {where[far[0]]}: views go from {first.min():g} to {first.max():g} '
    f'(this or alike in {len(far)} of {len(views)} scenes); the networks tell '
    'apart views of about -1 to 1: use other units',
    file=sys.stderr,
  )
