"""What every source hands on: one scene on the host, and its views.

A view is a timestamp for videos (paper, section 4.1) and a camera for rooms
(section 4.2).
"""

from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.types import Array


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


def timestamps(num_frames: int) -> np.ndarray:
  """The views of a video: i / (N - 1), [N, 1] (paper, section 4.1)."""
  last = max(num_frames - 1, 1)
  return (np.arange(num_frames) / last).astype(np.float32)[:, None]


def cameras(poses: np.ndarray) -> np.ndarray:
  """(x, y, z, yaw, pitch) [N, 5] in radians -> [N, 7] float32.

  The order is that of `Scene.views`: x, y, z, sin yaw, cos yaw, sin pitch,
  cos pitch.
  """
  position, (yaw, pitch) = poses[:, :3], poses[:, 3:].T
  angles = [np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)]
  return np.column_stack([position, *angles]).astype(np.float32)


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


def check_views(config: ConfigDict, views: np.ndarray, where: Any) -> None:
  """ValueError unless views are finite and of the width the config says."""
  expected = (config.data.num_frames, config.data.view_size)
  if views.shape != expected:
    raise ValueError(
      f'{where}: views are {list(views.shape)}; data.num_frames and '
      f'data.view_size ask for {list(expected)}'
    )
  if not np.all(np.isfinite(views)):
    raise ValueError(f'{where}: a view is not finite')
