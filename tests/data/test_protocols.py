"""Contexts never show the hidden side, targets do."""

from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.data.examples import Example
from cgqn_jax.data.protocols import PROTOCOLS

*_, for_training, for_tables = PROTOCOLS['hidden_side']


def config(size=64):
  fields = {'min_context': 1, 'max_context': 6, 'any_context_share': 0.0}
  fields |= {'min_targets': 1, 'num_targets': 3}
  return ConfigDict({'data': {'frame_size': size} | fields})


def example(pixels, example_id=0):
  return Example(None, None, None, example_id, pixels)


def ring(views=20, seed=0, size=64):
  """Pixels of the faces of a cube seen from a ring: nearest sides show."""
  rng = np.random.default_rng(seed)
  angle = 2 * np.pi * (np.arange(views) + rng.random(views)) / views
  toward = np.pi / 2 * np.arange(4)
  area = 900 * np.cos(angle[:, None] - toward) - 180
  sides = np.maximum(area, 0) * (size / 64) ** 2
  top = np.full((views, 1), 300.0)
  pixels = np.concatenate([sides, top, 0 * top], axis=1)
  return np.ceil(pixels).astype(np.uint16)


@pytest.mark.parametrize('size', [32, 64])
def test_training(size):
  pixels = ring(size=size)
  sides, sizes, counts = [], set(), set()
  for seed in range(300):
    rng = np.random.default_rng(seed)
    views = for_training(config(size), example(pixels), rng)
    assert np.all(pixels[views.context, views.hidden_side] == 0)
    assert pixels[views.targets[0], views.hidden_side] >= 150 * (size / 64) ** 2
    for chosen in views[:2]:
      assert len(set(chosen)) == len(chosen)
    sides.append(views.hidden_side)
    sizes.add(len(views.context))
    counts.add(len(views.targets))
  assert sizes == {1, 2, 3, 4, 5, 6} and counts == {1, 2, 3}
  # 75 expected of each, with a standard deviation of 7.5.
  assert np.all(np.abs(np.bincount(sides) - 75) < 34)


def test_any_views():
  """A share of the scenes hides no side; as many targets as there must be."""
  some = config()
  some.data.update(any_context_share=0.5, min_context=3, min_targets=2)
  pixels, hidden = ring(), 0
  for seed in range(200):
    rng = np.random.default_rng(seed)
    context, targets, side = for_training(some, example(pixels), rng)
    assert 3 <= len(context) <= 6 and 2 <= len(targets) <= 3
    if side is None:
      assert len({*context, *targets}) == len(context) + len(targets)
    hidden += side is not None
  assert abs(hidden - 100) < 30  # 100 expected, with a deviation of 7


def test_tables():
  sides = []
  for scene in range(100):
    pixels = ring(seed=scene)
    context, targets, side = for_tables(config(), example(pixels, scene))
    assert len(set(context)) == 5 and len(set(targets)) == 3
    assert np.all(pixels[context, side] == 0)
    assert np.all(pixels[targets, side] >= 150)
    others = np.delete(np.arange(4), side)
    assert np.all(pixels[context][:, others].max(0) >= 150)
    again = for_tables(config(), example(pixels, scene))
    assert again.hidden_side == side and np.all(again.context == context)
    sides.append(side)
  assert np.bincount(sides, minlength=4).min() > 8


def test_a_scene_that_hides_nothing():
  scene = example(np.full((20, 6), 500, np.uint16))
  with pytest.raises(ValueError, match='no side of the cube'):
    for_training(config(), scene, np.random.default_rng(0))
  with pytest.raises(ValueError, match='no side of the cube'):
    for_tables(config(), scene)
