"""The stories: golden examples, what they hold, how they are addressed."""

import hashlib
import itertools

import numpy as np
import pytest

from cgqn_jax.simulators import narratives
from cgqn_jax.simulators.draws import Draws
from cgqn_jax.simulators.narratives.stories import RADII, STRETCH

# Of the integer fields of train 0 .. 15 and test 0 .. 15, and, rounded to
# 1e-4, where the first shape of train 0 is in frames 1, 8 and the last.
GOLDEN = {
  'traveling_salesman': (
    'f5466ca71a34b77a',
    (0.7034, 0.3277, 0.5808, 0.5376, 0.2979, 0.7356),
  ),
  'color_reaction': (
    '74b4e178fffaf085',
    (0.7195, 0.3839, 0.4484, 0.2861, 0.4484, 0.2861),
  ),
  'dag_chase': (
    '82e1ebcba8410ef8',
    (0.4946, 0.2706, 0.6494, 0.3089, 0.5963, 0.3312),
  ),
  'color_relay': (
    '1a2e60d4d6314d13',
    (0.6077, 0.8652, 0.5377, 0.3529, 0.5377, 0.3529),
  ),
  'shell_shuffle': (
    '259b40f1ace10f6b',
    (0.1000, 0.1667, 0.4500, 0.1667, 0.9000, 0.5000),
  ),
  'plinko': (
    '85f04077824eb3ab',
    (0.1400, 0.4637, 0.3780, 0.3439, 0.8200, 0.4637),
  ),
  'greedy_salesman': (
    '91574d756f950eda',
    (0.8373, 0.5849, 0.5931, 0.7315, 0.2818, 0.3951),
  ),
}
FRAMES_AND_SHAPES = {
  'traveling_salesman': (21, 5),
  'color_reaction': (12, 2),
  'dag_chase': (21, 4),
  'color_relay': (21, 4),
  'shell_shuffle': (21, 4),
  'plinko': (21, 16),
  'greedy_salesman': (21, 5),
}
STREAMS = {name: i for i, name in enumerate(FRAMES_AND_SHAPES)}
RANDOM_CASTS = (
  'traveling_salesman color_reaction dag_chase color_relay greedy_salesman'
).split()


@pytest.fixture(scope='module', params=FRAMES_AND_SHAPES)
def some(request):
  """The name of a narrative and 300 examples of it."""
  name = request.param
  return name, narratives.sample_batch(name, 'train', range(300))


def bounds_of(stories: narratives.Story) -> np.ndarray:
  return stories.radius * np.array((*STRETCH, 1))[stories.kind]


def length(vectors: np.ndarray) -> np.ndarray:
  return np.sqrt(np.square(vectors.astype(np.float64)).sum(-1))


def integers_hash(name: str) -> str:
  digest = hashlib.sha256()
  for split in ('train', 'test'):
    for i in range(16):
      story = narratives.sample(name, split, i)
      for field in ('kind', 'size', 'color', 'order', 'events'):
        digest.update(getattr(story, field).astype('<i4').tobytes())
  return digest.hexdigest()[:16]


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


def test_the_list_of_narratives():
  assert {
    name: narrative.stream for name, narrative in narratives.NARRATIVES.items()
  } == STREAMS
  assert narratives.SPLITS == ('train', 'validation', 'test')


@pytest.mark.parametrize('name', FRAMES_AND_SHAPES)
def test_golden(name):
  story = narratives.sample(name, 'train', 0)
  places = story.positions[[0, 7, -1], 0].ravel().tolist()
  assert integers_hash(name) == GOLDEN[name][0]
  np.testing.assert_allclose(places, GOLDEN[name][1], atol=6e-5)


@pytest.mark.parametrize('name', FRAMES_AND_SHAPES)
def test_an_example_needs_no_other_and_ids_have_no_end(name):
  ids = [3, 97_999, 98_000, 2**40]
  batch = narratives.sample_batch(name, 'validation', ids)
  for i, example_id in enumerate(ids):
    alone = narratives.sample(name, 'validation', np.int64(example_id))
    assert alone.example_id == example_id
    for field, array in alone._asdict().items():
      np.testing.assert_array_equal(array, getattr(batch, field)[i])
  assert len({batch.positions[i].tobytes() for i in range(len(ids))}) == 4
  one, other = (narratives.sample(name, s, 3) for s in ('train', 'test'))
  assert one.positions.tobytes() != other.positions.tobytes()


def test_what_a_story_holds(some):
  name, stories = some
  num_frames, num_shapes = FRAMES_AND_SHAPES[name]
  narrative = narratives.NARRATIVES[name]
  assert (narrative.num_frames, narrative.num_shapes) == (
    num_frames,
    num_shapes,
  )
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
