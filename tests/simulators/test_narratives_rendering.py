"""The painter: against brute force, NumPy against JAX, one against many."""

import numpy as np
import pytest

from cgqn_jax.simulators import narratives
from cgqn_jax.simulators.narratives import stories as stories_lib

SUB = 16  # of the reference: sub-samples on a side of a pixel


def still(kind, place, radius=0.1, color=11, order=None) -> narratives.Story:
  """A story of one frame; an argument a list with one entry per shape."""
  place = np.array(place, np.float32).reshape(-1, 2)
  count = len(place)

  def each(value, dtype):
    return np.broadcast_to(np.array(value, dtype), (count,)).copy()

  return narratives.Story(
    positions=place[None],
    kind=each(kind, np.int32),
    size=each(0, np.int32),
    color=each(color, np.int32)[None],
    radius=each(radius, np.float32),
    order=np.arange(count) if order is None else np.array(order),
    events=np.zeros(0, np.int32),
    example_id=np.int64(0),
  )


def inside(kind: int, radius: float, x: np.ndarray, y: np.ndarray):
  """Tells which points lie in a shape at the origin, from its corners."""
  if kind == stories_lib.CIRCLE:
    return x * x + y * y <= radius * radius
  sides, first = {1: (4, -45), 2: (3, -90), 3: (5, -90)}[kind]
  angle = np.deg2rad(first + 360 / sides * np.arange(sides))
  bound = radius * (1, 1.2, 1.3, 1.1)[kind]
  corner = bound * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  result = np.ones_like(x, bool)
  for (ax, ay), (bx, by) in zip(corner, np.roll(corner, -1, 0), strict=True):
    result &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0
  return result


def reference(story: narratives.Story, frame: int, size: int) -> np.ndarray:
  """One frame by SUB x SUB samples per pixel."""
  point = (np.arange(size * SUB) + 0.5) / (size * SUB)
  image = np.zeros((size * SUB, size * SUB, 3))
  for i in story.order:
    x, y = story.positions[frame, i].astype(np.float64)
    mask = inside(
      int(story.kind[i]),
      float(story.radius[i]),
      *np.meshgrid(point - x, point - y),
    )
    image[mask] = stories_lib.PALETTE[story.color[frame, i]]
  return image.reshape(size, SUB, size, SUB, 3).mean((1, 3))


# Of 255; a corner that is small beside a pixel is painted a little too large.
@pytest.mark.parametrize(
  ('frame_size', 'most_rmse', 'most_excess'),
  [(64, 1.6, 0.006), (32, 3.3, 0.025)],
)
def test_against_many_samples_a_pixel(frame_size, most_rmse, most_excess):
  errors, sums = [], []
  for i in range(4):
    story = narratives.sample('traveling_salesman', 'train', i)
    frames = narratives.render(story, frame_size)
    for frame in (0, 7):
      expected = reference(story, frame, frame_size)
      errors.append(frames[frame] - expected)
      sums.append((frames[frame].sum(), expected.sum()))
  rmse = np.sqrt(np.mean(np.square(errors)))
  drawn, expected = np.sum(sums, axis=0)
  assert rmse < most_rmse
  assert abs(drawn / expected - 1) < most_excess
  assert np.abs(errors).max() < 100


@pytest.mark.parametrize('kind', range(4))
@pytest.mark.parametrize('size', range(4))
def test_each_shape_has_its_area(kind, size):
  radius = stories_lib.RADII[size]
  story = still(kind, (0.503, 0.491), radius)
  area = narratives.render(story, 64)[0, :, :, 0].sum() / 255 / 64**2
  sides = {1: 4, 2: 3, 3: 5}.get(kind)
  bound = radius * (1, 1.2, 1.3, 1.1)[kind]
  expected = np.pi * radius**2
  if sides:
    expected = sides / 2 * bound**2 * np.sin(2 * np.pi / sides)
  assert area == pytest.approx(expected, rel=0.02)


def test_the_last_in_order_is_on_top():
  place = [(0.5, 0.5), (0.5, 0.5)]
  for order in ([0, 1], [1, 0]):
    story = still([0, 1], place, [0.2, 0.2], [0, 2], order)
    center = narratives.render(story, 64)[0, 32, 32]
    top = (0, 2)[order[-1]]
    np.testing.assert_array_equal(center, stories_lib.PALETTE[top])


def test_the_panel_has_full_height():
  story = still(stories_lib.PANEL, (0.5, 0.5), 0.25, stories_lib.PANEL_COLOR)
  image = narratives.render(story, 64)[0]
  assert (image[:, 16:48] == 89).all()
  assert not image[:, :16].any() and not image[:, 48:].any()


@pytest.mark.parametrize('frame_size', [32, 64])
@pytest.mark.parametrize('name', narratives.NARRATIVES)
def test_numpy_and_jax_agree(name, frame_size):
  stories = narratives.sample_batch(name, 'test', range(6))
  batch = np.asarray(narratives.render_batch(stories, frame_size))
  alone = np.stack(
    [
      narratives.render(narratives.sample(name, 'test', i), frame_size)
      for i in range(6)
    ]
  )
  num_frames = narratives.NARRATIVES[name].num_frames
  assert batch.shape == (6, num_frames, frame_size, frame_size, 3)
  assert batch.dtype == alone.dtype == np.uint8
  assert batch.any((2, 3, 4)).all(), 'a blank frame'
  difference = np.abs(batch.astype(int) - alone)
  assert difference.max() <= 1
  assert (difference > 0).mean() <= 1e-5


def test_some_frames_only():
  stories = narratives.sample_batch('dag_chase', 'test', range(4))
  full = np.asarray(narratives.render_batch(stories, 32))
  picked = np.array([[0, 20, 3], [1, 1, 1], [19, 4, 0], [2, 7, 9]])
  rows = np.arange(4)[:, None]
  some = stories._replace(
    positions=stories.positions[rows, picked],
    color=stories.color[rows, picked],
  )
  frames = np.asarray(narratives.render_batch(some, 32))
  np.testing.assert_array_equal(frames, full[rows, picked])


def test_frame_size_must_be_positive():
  story = narratives.sample('plinko', 'test', 0)
  for render in (narratives.render, narratives.render_batch):
    with pytest.raises(ValueError, match='frame_size is 0; it must be at'):
      render(story, 0)
