"""The laws of each narrative, and the chances of its choices."""

from collections.abc import Sequence
import itertools

import numpy as np
import pytest

from cgqn_jax.simulators import narratives
from cgqn_jax.simulators.narratives.stories import STRETCH

NUM_EXAMPLES = 2400


def bounds_of(stories: narratives.Story) -> np.ndarray:
  return stories.radius * np.array((*STRETCH, 1))[stories.kind]


def length(vectors: np.ndarray) -> np.ndarray:
  return np.sqrt(np.square(vectors.astype(np.float64)).sum(-1))


def assert_uniform(values: Sequence, outcomes: Sequence) -> None:
  """A chi-square test; a fair source fails once in 10,000."""
  counts = np.array([sum(v == o for v in values) for o in outcomes])
  assert counts.sum() == len(values), 'other outcomes'
  expected = len(values) / len(outcomes)
  chi2, dof = (np.square(counts - expected) / expected).sum(), len(outcomes) - 1
  a = 2 / (9 * dof)  # Wilson-Hilferty
  assert chi2 < dof * (1 - a + 3.72 * a**0.5) ** 3, counts


def test_attributes_are_uniform():
  name = 'traveling_salesman'
  stories = narratives.sample_batch(name, 'train', range(NUM_EXAMPLES))
  for shape in (0, 4):
    assert_uniform(stories.kind[:, shape], range(4))
    assert_uniform(stories.size[:, shape], range(4))
    assert_uniform(stories.color[:, 0, shape], range(12))
  # With replacement, and independent of each other.
  pairs = list(zip(stories.kind[:, 0], stories.size[:, 1], strict=True))
  assert_uniform(pairs, list(itertools.product(range(4), repeat=2)))
  same = (stories.color[:, 0, 0] == stories.color[:, 0, 1]).mean()
  assert abs(same - 1 / 12) < 0.02
  # The four quarters of the frame are as likely.
  right, low = (stories.positions[:, 0, 2] > 0.5).astype(int).T
  assert_uniform(right + 2 * low, range(4))


def test_traveling_salesman_visits_in_any_order():
  name = 'traveling_salesman'
  stories = narratives.sample_batch(name, 'train', range(NUM_EXAMPLES))
  orders = [tuple(events) for events in stories.events.tolist()]
  assert_uniform(orders, list(itertools.permutations((1, 2, 3, 4))))


@pytest.mark.parametrize('name', ['traveling_salesman', 'greedy_salesman'])
def test_a_salesman_goes_to_each_target_at_constant_speed(name):
  stories = narratives.sample_batch(name, 'train', range(300))
  assert (stories.positions[:, :, 1:] == stories.positions[:, :1, 1:]).all()
  assert (stories.color == stories.color[:, :1]).all()
  assert (stories.order == [1, 2, 3, 4, 0]).all()
  bounds, rows = bounds_of(stories), np.arange(300)
  for leg in range(4):
    target = stories.events[:, leg]
    path = stories.positions[:, 5 * leg : 5 * leg + 6, 0]
    goal = stories.positions[rows, 0, target]
    reach = 0.35 * (bounds[:, 0] + bounds[rows, target])
    np.testing.assert_allclose(length(path[:, -1] - goal), reach, atol=1e-6)
    steps = np.diff(path, axis=1)
    np.testing.assert_allclose(steps, steps[:, :1].repeat(5, 1), atol=1e-6)
    # Straight at the target.
    to_goal = goal - path[:, 0]
    cross = to_goal[:, 0] * steps[:, 0, 1] - to_goal[:, 1] * steps[:, 0, 0]
    np.testing.assert_allclose(cross, 0, atol=1e-6)


def test_traveling_salesman_legs_are_seen():
  name = 'traveling_salesman'
  stories = narratives.sample_batch(name, 'validation', range(NUM_EXAMPLES))
  stops = stories.positions[:, ::5, 0]
  legs = 64 * length(np.diff(stops, axis=1))
  assert legs.min() > 2.5
  assert (legs < 4).mean() < 0.0015


def test_greedy_salesman_goes_to_the_nearest():
  stories = narratives.sample_batch('greedy_salesman', 'train', range(300))
  for story in map(narratives.Story._make, zip(*stories, strict=True)):
    left = {1, 2, 3, 4}
    for leg, target in enumerate(story.events.tolist()):
      here = story.positions[5 * leg, 0]
      far = {i: length(story.positions[0, i] - here) for i in left}
      assert far[target] <= min(far.values()) + 1e-7
      left.remove(target)
  assert len({tuple(events) for events in stories.events.tolist()}) == 24


def test_color_reaction_follows_contact():
  name = 'color_reaction'
  stories = narratives.sample_batch(name, 'train', range(NUM_EXAMPLES))
  bounds = bounds_of(stories).sum(-1)
  apart = length(stories.positions[:, :, 0] - stories.positions[:, :, 1])
  assert (apart[:, 0] >= bounds + 12 / 64 - 1e-6).all()
  touch = np.repeat(0.85 * bounds[:, None], 7, axis=1)
  np.testing.assert_allclose(apart[:, 5:], touch, atol=1e-6)
  assert (stories.positions[:, :, 1] == stories.positions[:, :1, 1]).all()
  assert (stories.order == [1, 0]).all()
  old, new = stories.color[:, 0, 1], stories.events[:, 0]
  assert (stories.color[:, :6, 1] == old[:, None]).all()
  assert (stories.color[:, 6:, 1] == new[:, None]).all()
  assert (stories.color[:, :, 0] == stories.color[:, :1, 0]).all()
  assert_uniform((new - old) % 12, range(1, 12))
  assert_uniform(new, range(12))


def test_dag_chase_follows_parents():
  name = 'dag_chase'
  stories = narratives.sample_batch(name, 'train', range(NUM_EXAMPLES))
  parents, bounds = stories.events, bounds_of(stories)
  assert ((parents == -1).sum(-1) == 1).all()
  root = parents.argmin(-1)
  assert_uniform(root, range(4))
  assert (stories.order[:, -1] == root).all()
  rows = np.arange(NUM_EXAMPLES)
  legs = np.diff(stories.positions[rows, :, root][:, ::10], axis=1)
  assert 0.3 - 1e-6 <= length(legs).min() < 0.301
  assert 0.599 < length(legs).max() <= 0.6 + 1e-6
  children = (parents == root[:, None]).sum(-1)
  for count, chance in ((1, 1 / 3), (2, 1 / 2), (3, 1 / 6)):
    assert abs((children == count).mean() - chance) < 0.03
  for shape in range(4):
    chasers = rows[parents[:, shape] >= 0]
    parent = parents[chasers, shape]
    path = stories.positions[chasers, :, shape]
    goal = stories.positions[chasers, :, parent]
    touch = 0.85 * (bounds[chasers, shape] + bounds[chasers, parent])
    before = length(goal[:, :-1] - path[:, :-1])
    step = np.clip(before - touch[:, None], 0, 0.035)
    np.testing.assert_allclose(length(np.diff(path, axis=1)), step, atol=2e-6)
    after = length(goal[:, :-1] - path[:, 1:])
    np.testing.assert_allclose(before - after, step, atol=2e-6)


def test_color_relay_hands_one_color_on():
  name = 'color_relay'
  stories = narratives.sample_batch(name, 'train', range(NUM_EXAMPLES))
  runners, new = stories.events[:, :4], stories.events[:, 4]
  assert_uniform(
    [tuple(order) for order in runners.tolist()],
    [(0, *order) for order in itertools.permutations((1, 2, 3))],
  )
  assert_uniform(new, range(12))
  first = stories.color[:, 0]
  assert (first != new[:, None]).all()
  for story_new, colors, order in zip(new, stories.color, runners, strict=True):
    changed = colors == story_new
    for touch, frame in enumerate((6, 11, 16, 20)):
      target = order[(touch + 1) % 4]
      assert changed[:, target].argmax() == frame
      assert changed[frame:, target].all()
      assert (colors[:frame, target] == colors[0, target]).all()
  rows, bounds = np.arange(NUM_EXAMPLES), bounds_of(stories)
  for leg in range(4):
    one, other = runners[:, leg], runners[:, (leg + 1) % 4]
    place, goal = (
      stories.positions[rows, 5 * leg + 5, i] for i in (one, other)
    )
    touch = 0.6 * (bounds[rows, one] + bounds[rows, other])
    apart = length(place - goal)
    assert (apart <= touch + 1e-6).all()
    assert np.isclose(apart, touch, atol=1e-6).mean() > 0.95


def test_shell_shuffle_hides_the_change_of_lanes():
  name = 'shell_shuffle'
  stories = narratives.sample_batch(name, 'train', range(NUM_EXAMPLES))
  assert_uniform(
    [tuple(lanes) for lanes in stories.events.tolist()],
    list(itertools.permutations(range(3))),
  )
  colors = np.sort(stories.color[:, 0, :3])
  assert (np.diff(colors) > 0).all() and colors.max() == 11
  assert_uniform(stories.size[:, 1], range(3))
  x, y = stories.positions[:, :, :3, 0], stories.positions[:, :, :3, 1]
  mirrored = x[:, 0, 0] > 0.5
  assert_uniform(mirrored.astype(int), range(2))
  path = np.where(mirrored[:, None, None], 1 - x, x)
  frames = [0, 4, 8, 12, 16, 20]
  expected = np.array([0.1, 0.3, 0.5, 0.5, 0.7, 0.9])[None, :, None]
  np.testing.assert_allclose(path[:, frames] - expected, 0, atol=1e-6)
  lanes = np.array([1 / 6, 3 / 6, 5 / 6])
  assert np.allclose(y[:, :9], lanes)
  assert np.allclose(y[:, 12:], lanes[stories.events][:, None])
  assert (stories.order[:, -1] == 3).all()
  hidden = narratives.render(narratives.sample(name, 'train', 0), 64)[8:13]
  panel = hidden[0]
  assert (hidden == panel).all()
  assert (panel[:, 22:42] == 89).all() and (panel[:, :21] == 0).all()


def test_plinko_falls_left_or_right():
  name = 'plinko'
  stories = narratives.sample_batch(name, 'train', range(NUM_EXAMPLES))
  assert_uniform(
    [tuple(path) for path in stories.events.tolist()],
    list(itertools.product((0, 1), repeat=4)),
  )
  positions = stories.positions.astype(np.float64)
  assert 0.01 < positions.min() and positions.max() < 0.99
  ball, bins = positions[:, ::5, 0], positions[:, 0, 11:]
  # The board's own axes: along the bins, and down to their middle.
  across = (bins[:, 4] - bins[:, 0]) / 8
  assert_uniform(
    np.round(np.arctan2(across[:, 1], across[:, 0]) / (np.pi / 2)) % 4, range(4)
  )
  spacing = length(across)
  assert 0.075 - 1e-6 < spacing.min() and spacing.max() < 0.09 + 1e-6
  side = np.einsum('bkx,bx->bk', np.diff(ball, axis=1), across)
  side /= np.square(spacing)[:, None]
  np.testing.assert_allclose(side, 2 * stories.events - 1, atol=1e-5)
  fall = np.einsum(
    'bkx,bx->bk', np.diff(ball, axis=1), (bins[:, 2] - ball[:, 0]) / 0.81
  )
  np.testing.assert_allclose(fall, 0.17, atol=1e-5)
  rows, hit = np.arange(NUM_EXAMPLES), 11 + stories.events.sum(-1)
  np.testing.assert_allclose(
    length(ball[:, -1] - positions[rows, 0, hit]), 0.13, atol=1e-5
  )
  color = stories.color[:, 0]
  assert (color[:, 0] != color[:, 1]).all()
  assert (color[:, 1:] == color[:, 1:2]).all()
  assert (stories.color[:, :20] == color[:, None]).all()
  changed = stories.color[:, 20] != color
  assert (changed.sum(-1) == 1).all() and changed[rows, hit].all()
  assert (stories.color[rows, 20, hit] == color[:, 0]).all()


def test_plinko_is_consistent_by_prefix():
  story = narratives.sample('plinko', 'train', 5)
  futures = narratives.hypotheses('plinko', story, 1)
  for one, other in itertools.combinations(futures, 2):
    shared = (one.events != other.events).argmax()  # choices before they part
    same = (one.positions == other.positions).all((1, 2))
    assert same[: 5 * shared + 1].all() and not same[5 * shared + 1]
