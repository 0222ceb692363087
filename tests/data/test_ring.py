"""The ring of a turntable, fitted to cameras."""

import math

import numpy as np
import pytest

from cgqn_jax.data import examples, ring
from cgqn_jax.simulators import dice


def test_the_dice_s_ring_is_found_from_their_views():
  for scene in (0, 7):
    views = dice.sample('train', scene).cameras
    found = ring.fit(views)
    np.testing.assert_allclose(
      ring.around(found, 12), dice.turntable(12), atol=1e-5
    )
    start, end = ring.gap(found)
    assert 0 < end - start < 36  # a camera in each of 20 arcs


def test_photographs_by_hand():
  """A moved, lopsided half circle at many heights, all a little off."""
  rng = np.random.default_rng(0)
  azimuth = np.radians(np.linspace(20, 200, 40))
  distance = rng.uniform(0.7, 0.9, 40)
  height = rng.uniform(0.2, 0.6, 40)
  poses = np.stack(
    [
      3 + distance * np.cos(azimuth),
      -2 + distance * np.sin(azimuth),
      height,
      azimuth + math.pi + rng.normal(0, 0.05, 40),
      -np.arctan(height / distance),
    ],
    axis=-1,
  )
  found = ring.fit(examples.cameras(poses))
  assert abs(found.x - 3) < 0.05 and abs(found.y + 2) < 0.05
  assert 0.75 < found.radius < 0.85 and 0.3 < found.height < 0.5
  assert found.inward
  start, end = ring.gap(found)
  assert abs(start - 200) < 4 and abs(end - 380) < 4
  # A camera of the ring looks at what the others look at.
  camera = ring.around(found, 4)[1]
  across = (3 - camera[0]) * camera[3] - (-2 - camera[1]) * camera[4]
  assert abs(across) < 0.05


@pytest.mark.parametrize('distance', [0.0, 0.5])
def test_a_look_around_from_the_middle(distance):
  yaw = np.radians(np.arange(0, 360, 30))
  flat = 0.3 + distance * np.stack([np.cos(yaw), np.sin(yaw)])
  poses = np.stack([*flat, 0 * yaw, yaw, 0.1 + 0 * yaw], axis=-1)
  views = examples.cameras(poses)
  found = ring.fit(views)
  assert not found.inward
  np.testing.assert_allclose(ring.around(found, 12), views, atol=1e-6)


def test_what_has_no_ring():
  rng = np.random.default_rng(0)
  poses = rng.uniform(-1, 1, (40, 5))
  poses[:, 3] = 0.02 * poses[:, 3]
  with pytest.raises(ValueError, match='look nearly all one way'):
    ring.fit(examples.cameras(poses))
  poses[:, 3] = rng.uniform(-math.pi, math.pi, 40)
  with pytest.raises(ValueError, match='neither to a middle nor away from one'):
    ring.fit(examples.cameras(poses))
