"""Contact sheets: examples of a narrative at a glance (paper, section 4.1)."""

from collections.abc import Sequence

import numpy as np

from cgqn_jax.simulators.narratives.rendering import render_batch
from cgqn_jax.simulators.narratives.sampling import find, sample_batch

_LINE, _GREY = 1, 96  # between two frames: its width, its level


def contact_sheet(
  name: str,
  split: str,
  ids: Sequence[int],
  frame_size: int = 64,
  columns: int | None = None,
) -> np.ndarray:
  """One row an example, one column a frame, thin grey lines between them.

  Args:
    name: one of `NARRATIVES`.
    split: 'train', 'validation' or 'test'.
    ids: the examples, at least one.
    frame_size: H = W of a frame, in pixels.
    columns: the number of frames, evenly spaced from the first to the last;
      by default every other frame.

  Returns:
    [height, width, 3] uint8.

  Raises:
    ValueError: if an argument is not one of these.
  """
  num_frames = find(name).num_frames
  if not len(ids):
    raise ValueError('ids is empty; a sheet shows at least one example.')
  if columns is None:
    shown = np.arange(0, num_frames, 2)
  elif 1 <= columns <= num_frames:
    shown = np.linspace(0, num_frames - 1, columns).round().astype(int)
  else:
    raise ValueError(
      f'columns is {columns}; a story of {name} has {num_frames} frames.'
    )
  stories = sample_batch(name, split, ids)
  stories = stories._replace(
    positions=stories.positions[:, shown], color=stories.color[:, shown]
  )
  frames = np.asarray(render_batch(stories, frame_size))
  pad = [(0, 0), (0, 0), (_LINE, 0), (_LINE, 0), (0, 0)]
  frames = np.pad(frames, pad, constant_values=_GREY)
  sheet = np.concatenate(np.concatenate(frames, axis=1), axis=1)
  return sheet
