"""Hypotheses: their numbers, and brute force over all rendered futures."""

import numpy as np
import pytest

from cgqn_jax.simulators import narratives
from cgqn_jax.simulators.narratives.stories import Cast

COUNTED = [n for n in narratives.NARRATIVES if n != 'dag_chase']


def same(one: narratives.Story, other: narratives.Story) -> bool:
  pairs = zip(one, other, strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def brute_force(name, story, seen, frame_size):
  """The frames of all futures whose seen frames are equal; no look twice."""
  true = narratives.render(story, frame_size)
  narrative, cast = narratives.NARRATIVES[name], Cast.of(story)
  looks = set()
  for roles, choice in narrative.alternatives(cast):
    future = narrative.play(cast.recast(roles), choice)
    frames = narratives.render(future, frame_size)
    if (frames[seen] == true[seen]).all():
      looks.add(frames.tobytes())
  return looks


@pytest.mark.parametrize(
  ('name', 'counts'),
  [
    ('traveling_salesman', {1: 120, 2: 6, 6: 6, 7: 2, 11: 2, 12: 1, 21: 1}),
    ('color_reaction', {1: 22, 2: 11, 6: 11, 7: 1, 12: 1}),
    ('shell_shuffle', {1: 6, 6: 6, 13: 6, 17: 1, 21: 1}),
    ('plinko', {1: 16, 2: 8, 6: 8, 7: 4, 11: 4, 12: 2, 17: 1, 21: 1}),
    ('greedy_salesman', {1: 5, 2: 1, 6: 1, 21: 1}),
  ],
)
def test_how_many(name, counts):
  for example_id in range(4):
    story = narratives.sample(name, 'test', example_id)
    for seen, count in counts.items():
      futures = narratives.hypotheses(name, story, seen, frame_size=32)
      assert len(futures) == count, (example_id, seen)
      assert same(futures[0], story)


def test_how_many_of_color_relay():
  for example_id in range(4):
    story = narratives.sample('color_relay', 'test', example_id)
    new = 12 - len(set(story.color[0].tolist()))
    for seen, count in ((1, 24 * new), (2, 2 * new), (6, 2 * new), (7, 1)):
      futures = narratives.hypotheses('color_relay', story, seen)
      assert len(futures) == count, (example_id, seen)
      assert same(futures[0], story)


@pytest.mark.parametrize('seen', [[], [0], [3], [0, 5], [8, 11], [11, 4, 0]])
@pytest.mark.parametrize('name', COUNTED)
def test_any_frames_against_brute_force(name, seen):
  story = narratives.sample(name, 'validation', 2)
  looks = brute_force(name, story, [0, *seen], 32)
  futures = narratives.hypotheses(name, story, seen, frame_size=32)
  frames = {narratives.render(f, 32).tobytes() for f in futures}
  assert len(frames) == len(futures), 'two futures that look the same'
  assert frames == looks
  assert same(futures[0], story)
  assert all(future.example_id == 2 for future in futures)


def test_contexts_of_color_reaction():
  story = narratives.sample('color_reaction', 'test', 0)
  for seen, count in (([0, 3], 11), ([3, 6], 1), ((0,), 22), (range(6), 11)):
    futures = narratives.hypotheses('color_reaction', story, seen)
    assert len(futures) == count
  colors = [
    f.events[0] for f in narratives.hypotheses('color_reaction', story, 6)
  ]
  assert sorted({*colors, story.color[0, 1]}) == list(range(12))


def test_futures_that_look_the_same_count_once():
  name = 'shell_shuffle'
  narrative = narratives.NARRATIVES[name]
  cast = Cast.of(narratives.sample(name, 'test', 0))
  twins = cast._replace(
    kind=[0, 0, *cast.kind[2:]],
    radius=[0.08, 0.08, *cast.radius[2:]],
    color=[3, 3, *cast.color[2:]],
  )
  story = narrative.play(twins, [2, 0, 1])
  assert len(narratives.hypotheses(name, story, 1)) == 3
  futures = narratives.hypotheses(name, story, 21)
  assert len(futures) == 1 and same(futures[0], story)


def test_errors():
  story = narratives.sample('dag_chase', 'test', 0)
  with pytest.raises(ValueError, match='dag_chase cannot be counted') as error:
    narratives.hypotheses('dag_chase', story, 6)
  assert all(name in str(error.value) for name in COUNTED)
  with pytest.raises(ValueError, match='is not one of traveling_salesman'):
    other = narratives.sample('greedy_salesman', 'test', 0)
    moved = other.positions + np.float32(0.01) * np.arange(21)[:, None, None]
    moved = other._replace(positions=moved.astype(np.float32))
    narratives.hypotheses('traveling_salesman', moved, 6)
  story = narratives.sample('plinko', 'test', 0)
  with pytest.raises(ValueError, match='21 frames; a story of color_reaction'):
    narratives.hypotheses('color_reaction', story, 6)
  for seen in (0, 22):
    with pytest.raises(ValueError, match=f'seen is {seen} frames; it must be'):
      narratives.hypotheses('plinko', story, seen)
  for seen in ([-1], [3, 21]):
    with pytest.raises(ValueError, match='they must be 0 to 20'):
      narratives.hypotheses('plinko', story, seen)
