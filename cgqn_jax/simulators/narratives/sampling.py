"""All narratives, and their examples by split and id (paper, section 4.1)."""

from collections.abc import Sequence

import numpy as np

from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.color_reaction import COLOR_REACTION
from cgqn_jax.simulators.narratives.color_relay import COLOR_RELAY
from cgqn_jax.simulators.narratives.dag_chase import DAG_CHASE
from cgqn_jax.simulators.narratives.plinko import PLINKO
from cgqn_jax.simulators.narratives.shell_shuffle import SHELL_SHUFFLE
from cgqn_jax.simulators.narratives.stories import Narrative, Story
from cgqn_jax.simulators.narratives.traveling import (
  GREEDY_SALESMAN,
  TRAVELING_SALESMAN,
)

NARRATIVES: dict[str, Narrative] = {
  narrative.name: narrative
  for narrative in (
    TRAVELING_SALESMAN,
    COLOR_REACTION,
    DAG_CHASE,
    COLOR_RELAY,
    SHELL_SHUFFLE,
    PLINKO,
    GREEDY_SALESMAN,
  )
}


def sample(name: str, split: str, example_id: int) -> Story:
  """One example; the same on every machine, and needs no other example.

  Args:
    name: one of `NARRATIVES`.
    split: 'train', 'validation' or 'test'.
    example_id: 0 or more; it may lie past the stored data set.

  Raises:
    ValueError: if an argument is not one of these.
  """
  narrative = find(name)
  draws = Draws(narrative.stream, split, example_id)
  cast = narrative.begin(draws)
  story = narrative.play(cast, narrative.choose(draws, cast))
  return story._replace(example_id=np.int64(example_id))


def sample_batch(name: str, split: str, example_ids: Sequence[int]) -> Story:
  """Examples of any ids, [B, ...] in every field; errors as in `sample`."""
  return stack([sample(name, split, i) for i in example_ids])


def stack(stories: Sequence[Story]) -> Story:
  """Stories of one narrative as a batch, [B, ...] in every field."""
  return Story(*map(np.stack, zip(*stories, strict=True)))


def find(name: str) -> Narrative:
  """The narrative of this name; ValueError if there is none."""
  if name not in NARRATIVES:
    names = ', '.join(NARRATIVES)
    raise ValueError(f'narrative is {name!r}; it must be one of {names}.')
  return NARRATIVES[name]
