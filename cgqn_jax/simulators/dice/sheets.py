"""Contact sheets: rooms at a glance (paper, section 4.2)."""

from collections.abc import Sequence

import numpy as np

from cgqn_jax.simulators.dice.rendering import render_batch
from cgqn_jax.simulators.dice.rooms import STYLES, Style, sample_batch

_LINE, _GREY = 1, 96  # between two frames: its width, its level
_COLUMNS = 12


def contact_sheet(
  split: str,
  ids: Sequence[int],
  frame_size: int = 64,
  supersampling: int = 4,
  images: np.ndarray | None = None,
  style: Style = STYLES['default'],
) -> np.ndarray:
  """One row a room, its first 12 views, thin grey lines between them.

  Args:
    split: 'train', 'validation' or 'test'.
    ids: the examples, at least one.
    frame_size: H = W of a frame, in pixels.
    supersampling: S x S rays a pixel.
    images: [K, 28, 28] uint8 that `style.digits` are indices of; by default
      `digits()`.
    style: of the rooms.

  Returns:
    [height, width, 3] uint8.

  Raises:
    ValueError: if an argument is not one of these.
  """
  if not len(ids):
    raise ValueError('ids is empty; a sheet shows at least one example.')
  rooms = sample_batch(split, ids, style=style)
  rooms = rooms._replace(cameras=rooms.cameras[:, :_COLUMNS])
  views = render_batch(rooms, frame_size, supersampling, images)
  frames = np.asarray(views.frames)
  pad = [(0, 0), (0, 0), (_LINE, 0), (_LINE, 0), (0, 0)]
  frames = np.pad(frames, pad, constant_values=_GREY)
  return np.concatenate(np.concatenate(frames, axis=1), axis=1)
