"""All futures that the frames seen allow (paper, section 4.1).

A narrative is deterministic given its choices, so that a model's samples can
be held against the finite list of everything that may happen.
"""

from collections.abc import Sequence
import itertools
import operator
from typing import NamedTuple

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
  """A future, and the same with its shapes in the given story's order."""

  story: Story
  aligned: Story

  def state(self, frame: int) -> tuple[bytes, ...]:
    """What decides the look of a frame; equal states look the same."""
    story = self.aligned
    parts = story.order, story.positions[frame], story.color[frame]
    return tuple(part.tobytes() for part in parts)


def _all_futures(narrative: Narrative, story: Story) -> list[_Future]:
  """All that may follow the story's frame 1, the story itself first."""
  cast, futures = Cast.of(story), []
  for roles, choice in narrative.alternatives(cast):
    played = narrative.play(cast.recast(roles), choice)
    role_of = np.argsort(roles)
    aligned = story._replace(
      positions=played.positions[:, role_of],
      color=played.color[:, role_of],
      order=np.array(roles)[played.order],
    )
    played = played._replace(example_id=story.example_id)
    futures.append(_Future(played, aligned))
  true = [f for f in futures if all(map(np.array_equal, f.story, story))]
  if not true:
    raise ValueError(
      f'the story (example_id {story.example_id}) is not one of '
      f'{narrative.name}; give a story as sample makes it, and its narrative.'
    )
  return [true[0], *(f for f in futures if f is not true[0])]


def _parts(
  group: list[_Future], frame: int, frame_size: int
) -> list[list[_Future]]:
  """Divides futures into those that look the same in a frame.

  Only states that differ are rendered. The first part is the first future's.
  """
  by_state = {future.state(frame): future.aligned for future in group}
  if len(by_state) == 1:
    return [group]
  looks = {}
  for _, states in itertools.groupby(sorted(by_state), lambda state: state[0]):
    states = list(states)
    stories = [by_state[state] for state in states]
    # Moments of futures that are drawn in one order, as frames of one story.
    moments = stories[0]._replace(
      positions=np.stack([s.positions[frame] for s in stories]),
      color=np.stack([s.color[frame] for s in stories]),
    )
    frames = render(moments, frame_size)
    looks |= zip(states, (pixels.tobytes() for pixels in frames), strict=True)
  parts = {}
  for future in group:
    parts.setdefault(looks[future.state(frame)], []).append(future)
  return list(parts.values())


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
