"""The stories: golden examples, what they hold, and each narrative's laws."""

from collections.abc import Sequence
import hashlib
import itertools

import chex
import numpy as np
import pytest

from cgqn_jax.simulators import narratives
from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.stories import RADII, STRETCH

# Stream, frames and shapes; of the integer fields of train 0 .. 15 and test
# 0 .. 15; and, rounded to 1e-4, where the first shape of train 0 is in frames
# 1, 8 and the last.
GOLDEN = {
  'traveling_salesman': ((0, 21, 5), 'f5466ca71a34b77a',
    (0.7034, 0.3277, 0.5808, 0.5376, 0.2979, 0.7356)),
  'color_reaction': ((1, 12, 2), '74b4e178fffaf085',
    (0.7195, 0.3839, 0.4484, 0.2861, 0.4484, 0.2861)),
  'dag_chase': ((2, 21, 4), '82e1ebcba8410ef8',
    (0.4946, 0.2706, 0.6494, 0.3089, 0.5963, 0.3312)),
  'color_relay': ((3, 21, 4), '1a2e60d4d6314d13',
    (0.6077, 0.8652, 0.5377, 0.3529, 0.5377, 0.3529)),
  'shell_shuffle': ((4, 21, 4), '259b40f1ace10f6b',
    (0.1000, 0.1667, 0.4500, 0.1667, 0.9000, 0.5000)),
  'plinko': ((5, 21, 16), '85f04077824eb3ab',
    (0.1400, 0.4637, 0.3780, 0.3439, 0.8200, 0.4637)),
  'greedy_salesman': ((6, 21, 5), '91574d756f950eda',
    (0.8373, 0.5849, 0.5931, 0.7315, 0.2818, 0.3951)),
}  # fmt: skip
RANDOM_CASTS = (
  'traveling_salesman color_reaction dag_chase color_relay greedy_salesman'
).split()
NUM_EXAMPLES = 2400


def bounds_of(stories: narratives.Story) -> np.ndarray:
  return stories.radius * np.array((*STRETCH, 1))[stories.kind]


def length(vectors: np.ndarray) -> np.ndarray:
  return np.sqrt(np.square(vectors.astype(np.float64)).sum(-1))


def test_words_are_raw_philox():
  philox = np.random.Philox(key=[0, 16 * 3 + 2], counter=[0, 0, 0, 41])
  words = philox.random_raw(200)
  draws = Draws(3, 'test', 41)
  expected = [int(word) // 2**11 / 2**53 for word in words]
  assert [draws.uniform() for _ in words] == expected
  draws = Draws(3, 'test', 41)
  assert draws.below(12) == int(expected[0] * 12)
  items = [0, 1, 2, 3]
  for last, u in zip((3, 2, 1), expected[1:4], strict=True):
    other = int(u * (last + 1))
    items[last], items[other] = items[other], items[last]
  assert draws.permutation(4) == items
  assert draws.uniform(0.45, 0.55) == 0.45 + (0.55 - 0.45) * expected[4]


@pytest.mark.parametrize('name', GOLDEN)
def test_golden(name):
  numbers, expected, places = GOLDEN[name]
  narrative = narratives.NARRATIVES[name]
  found = narrative.stream, narrative.num_frames, narrative.num_shapes
  assert (narrative.name, found) == (name, numbers)
  assert list(GOLDEN) == list(narratives.NARRATIVES)
  digest = hashlib.sha256()
  for split in ('train', 'test'):
    for i in range(16):
      story = narratives.sample(name, split, i)
      for field in ('kind', 'size', 'color', 'order', 'events'):
        digest.update(getattr(story, field).astype('<i4').tobytes())
  assert digest.hexdigest()[:16] == expected
  path = narratives.sample(name, 'train', 0).positions[:, 0]
  np.testing.assert_allclose(path[[0, 7, -1]].ravel(), places, atol=6e-5)


@pytest.mark.parametrize('name', narratives.NARRATIVES)
def test_an_example_needs_no_other_and_ids_have_no_end(name):
  ids = [3, 97_999, 98_000, 2**40]
  batch = narratives.sample_batch(name, 'validation', ids)
  for i, example_id in enumerate(ids):
    alone = narratives.sample(name, 'validation', np.int64(example_id))
    assert alone.example_id == example_id
    chex.assert_trees_all_equal(alone, narratives.Story(*(x[i] for x in batch)))
  assert len({batch.positions[i].tobytes() for i in range(len(ids))}) == 4
  one, other = (narratives.sample(name, s, 3) for s in ('train', 'test'))
  assert one.positions.tobytes() != other.positions.tobytes()


@pytest.mark.parametrize('name', narratives.NARRATIVES)
def test_what_a_story_holds(name):
  stories = narratives.sample_batch(name, 'train', range(300))
  num_frames, num_shapes = GOLDEN[name][0][1:]
  shapes = {
    'positions': (num_frames, num_shapes, 2),
    'color': (num_frames, num_shapes),
    'kind': (num_shapes,),
    'size': (num_shapes,),
    'radius': (num_shapes,),
    'order': (num_shapes,),
  }
  for field, shape in shapes.items():
    array = getattr(stories, field)
    assert array.shape == (300, *shape)
    floats = field in ('positions', 'radius')
    assert array.dtype == (np.float32 if floats else np.int32)
  assert stories.events.dtype == np.int32
  assert stories.example_id.tolist() == list(range(300))
  assert (np.sort(stories.order) == np.arange(num_shapes)).all()
  actors = stories.size >= 0
  radii = np.array(RADII, np.float32)
  assert (stories.radius[actors] == radii[stories.size[actors]]).all()


@pytest.mark.parametrize('name', RANDOM_CASTS)
def test_frame_1_shows_all_of_each_shape(name):
  stories = narratives.sample_batch(name, 'test', range(300))
  places, bounds = stories.positions[:, 0], bounds_of(stories)
  gap = 3 / 64 - 1e-6
  edge = np.minimum(places, 1 - places).min(-1)
  assert (edge >= bounds + gap).all()
  for i, j in itertools.combinations(range(places.shape[1]), 2):
    apart = length(places[:, i] - places[:, j])
    assert (apart >= bounds[:, i] + bounds[:, j] + gap).all()


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      ('salesman', 'train', 0),
      "narrative is 'salesman'; it must be one",
    ),
    (('plinko', 'valid', 0), "split is 'valid'; it must be one of"),
    (('plinko', 'train', -1), 'example_id is -1; it must be 0 to'),
    (('plinko', 'train', 2**63), 'example_id is 9223372036854775808; it must'),
  ],
)
def test_errors(arguments, message):
  with pytest.raises(ValueError, match=message):
    narratives.sample(*arguments)


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
