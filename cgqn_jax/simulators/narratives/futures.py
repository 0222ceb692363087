"""All futures that the frames seen allow (paper, section 4.1).

A narrative is deterministic given its choices, so that a model's samples can
be held against the finite list of everything that may happen.
"""

from collections.abc import Sequence
import operator
from typing import Any, NamedTuple

import numpy as np

from cgqn_jax.simulators.narratives.rendering import render
from cgqn_jax.simulators.narratives.sampling import NARRATIVES, find
from cgqn_jax.simulators.narratives.stories import Cast, Narrative, Story


def hypotheses(
  name: str,
  story: Story,
  seen: int | Sequence[int],
  *,
  frame_size: int = 64,
) -> list[Story]:
  """The stories whose seen frames are the story's own, pixel by pixel.

  All begin with the story's frame 1, seen or not; any shape in it may take
  any role. They are equally likely, but that roles are not quite independent
  of the places (the shapes are placed one by one). Futures that look the same
  in all frames count once.

  Args:
    name: the story's narrative.
    story: as `sample` gives it, with all its frames.
    seen: the number k of first frames seen, at least 1; or the indices of any
      frames, from 0.
    frame_size: H = W of the frames that are seen.

  Returns:
    Stories [T, ...], the true one first; their shapes are in the order of the
    roles, not of the given story.

  Raises:
    ValueError: for a narrative whose futures cannot be counted, frames out of
      range, or a story of another narrative.
  """
  narrative = find(name)
  if narrative.alternatives is None:
    finite = ', '.join(n for n in NARRATIVES if NARRATIVES[n].alternatives)
    raise ValueError(
      f'the futures of {name} cannot be counted; those of {finite} can.'
    )
  if len(story.positions) != narrative.num_frames:
    raise ValueError(
      f'the story has {len(story.positions)} frames; a story of {name} has '
      f'{narrative.num_frames}.'
    )
  frames = _frames(seen, narrative.num_frames)
  futures = _all_futures(narrative, story)
  for frame in frames:
    futures = _parts(futures, frame, frame_size)[0]
  groups = [futures]
  for frame in reversed(range(narrative.num_frames)):
    groups = [
      part for group in groups for part in _parts(group, frame, frame_size)
    ]
  return [group[0].story for group in groups]


class _Future(NamedTuple):
  """A story, and again with the shapes of the story it is held against.

  still: that story.  positions: [T, N, 2].  color: [T, N].  order: N shapes.
  """

  story: Story
  still: Story
  positions: np.ndarray
  color: np.ndarray
  order: tuple[int, ...]

  def state(self, frame: int) -> tuple[Any, ...]:
    """What decides the look of a frame; equal states look the same."""
    seen = self.positions[frame].tobytes(), self.color[frame].tobytes()
    return (*seen, self.order)


def _parts(
  group: list[_Future], frame: int, frame_size: int
) -> list[list[_Future]]:
  """Divides futures into those that look the same in a frame.

  Only states that differ are rendered. The first part is the first future's.
  """
  by_state = {future.state(frame): future for future in group}
  if len(by_state) == 1:
    return [group]
  by_order = {}
  for future in by_state.values():
    by_order.setdefault(future.order, []).append(future)
  looks = {}
  for order, futures in by_order.items():
    # Moments of several futures, painted as the frames of one story.
    moments = group[0].still._replace(
      positions=np.stack([f.positions[frame] for f in futures]),
      color=np.stack([f.color[frame] for f in futures]),
      order=np.array(order),
    )
    frames = render(moments, frame_size)
    for future, pixels in zip(futures, frames, strict=True):
      looks[future.state(frame)] = pixels.tobytes()
  parts = {}
  for future in group:
    parts.setdefault(looks[future.state(frame)], []).append(future)
  return list(parts.values())


def _all_futures(narrative: Narrative, story: Story) -> list[_Future]:
  """All that may follow the story's frame 1, the story itself first."""
  cast = Cast.of(story)
  futures, true = [], None
  for roles, choice in narrative.alternatives(cast):
    played = narrative.play(cast.recast(roles), choice)
    played = played._replace(example_id=story.example_id)
    role_of = sorted(range(narrative.num_shapes), key=roles.__getitem__)
    future = _Future(
      story=played,
      still=story,
      positions=played.positions[:, role_of],
      color=played.color[:, role_of],
      order=tuple(roles[role] for role in played.order.tolist()),
    )
    if true is None and _equal(played, story):
      true = future
    else:
      futures.append(future)
  if true is None:
    raise ValueError(
      f'the story (example_id {story.example_id}) is not one of '
      f'{narrative.name}; give a story as sample makes it, and its narrative.'
    )
  return [true, *futures]


def _equal(one: Story, other: Story) -> bool:
  pairs = zip(one, other, strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def _frames(seen: int | Sequence[int], num_frames: int) -> list[int]:
  """The indices of the frames seen, but for frame 1, which all share."""
  if np.ndim(seen) == 0:
    count = operator.index(seen)
    if not 1 <= count <= num_frames:
      raise ValueError(f'seen is {count} frames; it must be 1 to {num_frames}.')
    return list(range(1, count))
  frames = sorted({operator.index(frame) for frame in seen})
  if frames and not 0 <= frames[0] <= frames[-1] < num_frames:
    raise ValueError(
      f'seen is the frames {frames}; they must be 0 to {num_frames - 1}.'
    )
  return [frame for frame in frames if frame]
