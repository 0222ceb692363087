"""The explorer's page holds the frames that were drawn, and all it needs."""

import re

import numpy as np
import pytest

from cgqn_jax.data import sources
from cgqn_jax.figures import explorer
from cgqn_jax.figures.explorer import Drawn
from cgqn_jax.models.build import build
from cgqn_jax.simulators import dice
from tests.figures import page_files


def make_scene(seed=0, samples=3, count=5, height=4, width=6, **changes):
  rng = np.random.default_rng(seed)
  scene = Drawn(
    label=f'{seed}',
    samples=rng.random((samples, count, height, width, 3), np.float32),
    truth=rng.integers(0, 256, (count, height, width, 3), np.uint8),
    names=[f'F{i + 1}' for i in range(count)],
    texts=[f'frame {i + 1}' for i in range(count)],
    hidden=np.arange(count) != 1,
    context=rng.random((1, height, width, 3), np.float32),
    seen=['F2'],
    places=np.array([1.0]),
  )
  return scene._replace(**changes)


def test_frames_of_the_page_are_those_given():
  scenes = [make_scene(0), make_scene(1, samples=2, count=7)]
  page = explorer.page(
    scenes, title='A & B', protocol={'Seen': '</script><b>F2'}
  )
  data = page_files.read_page(page)
  assert data['size'] == [4, 6] and len(data['scenes']) == 2
  assert data['protocol'] == [['Seen', '</script><b>F2']]
  assert page.count('A &amp; B') == 2 and 'A & B' not in page
  for scene, shown in zip(scenes, data['scenes'], strict=True):
    truth, samples = page_files.frames_of(data, shown)
    np.testing.assert_array_equal(truth, scene.truth)
    np.testing.assert_array_equal(
      samples, np.round(scene.samples * 255).astype(np.uint8)
    )
    np.testing.assert_array_equal(
      page_files.context_of(data, shown),
      np.round(scene.context * 255).astype(np.uint8),
    )
    assert shown['hidden'] == scene.hidden.tolist()
    assert shown['names'] == scene.names and shown['places'] == [1.0]
  assert page == explorer.page(
    scenes, title='A & B', protocol={'Seen': '</script><b>F2'}
  )


def test_nothing_is_fetched():
  page = explorer.page([make_scene()], title='T')
  assert '://' not in page and '{{' not in page and explorer.MARK in page
  assert "default-src 'none'" in page
  links = re.findall(r'(?:src|href)\s*=\s*["\']([^"\']*)', page)
  assert links == ['data:,']
  assert not re.findall(r'fetch\(|XMLHttp|import |@import|url\(', page)


def test_without_truth_and_without_context():
  bare = make_scene(
    truth=None, context=np.zeros((0, 4, 6, 3)), seen=[], places=np.zeros(0)
  )
  data = page_files.read_page(explorer.page([bare], title='T'))
  (shown,) = data['scenes']
  truth, samples = page_files.frames_of(data, shown)
  assert truth is None and samples.shape == (3, 5, 4, 6, 3)
  assert shown['context'] is None and shown['seen'] == []


def test_what_is_no_page():
  with pytest.raises(ValueError, match='there is no scene to show'):
    explorer.page([], title='T')
  with pytest.raises(ValueError, match=r'sizes \[\(4, 6\), \(8, 6\)\]'):
    explorer.page([make_scene(), make_scene(height=8)], title='T')


def test_too_large_a_page_is_refused_after_its_first_scene():
  asked = []

  def scenes():
    for seed in range(40):
      asked.append(seed)
      yield make_scene(seed, samples=8, count=16, height=32, width=32)

  with pytest.raises(ValueError, match='show 1[0-9] scenes or fewer'):
    explorer.page(scenes(), title='T', expected=40)
  assert asked == [0]


def test_rooms_are_drawn_from_all_around(make_dice_config, make_params):
  config = make_dice_config()
  model = build(config)
  axis, drawn = explorer.draw(
    model, make_params(model), config, [3, 1], num_samples=2, azimuths=5
  )
  assert axis == explorer.AZIMUTH
  rooms = dice.sample_batch('test', [3, 1], style=dice.STYLES['default'])
  for number, scene in enumerate(drawn):
    assert scene.samples.shape == (2, 5, 16, 16, 3)
    assert scene.samples[0].std() > 0
    assert scene.names == ['0°', '72°', '144°', '216°', '288°']
    assert scene.hidden.all() and len(scene.seen) == 5
    room = dice.Room(*(x[number : number + 1] for x in rooms))
    around = room._replace(cameras=dice.turntable(5)[None])
    truth = dice.render_batch(around, 16, sources.supersampling(config)).frames
    np.testing.assert_array_equal(scene.truth, truth[0])
    # The context's cameras are some of the room's, and marked where they are.
    for camera, place in zip(scene.cameras, scene.places, strict=False):
      assert np.abs(room.cameras[0, :, :2] - camera[:2]).sum(-1).min() < 1e-6
      angle = np.radians(360 * place / 5)
      there = np.hypot(*camera[:2]) * np.array([np.cos(angle), np.sin(angle)])
      np.testing.assert_allclose(camera[:2], there, atol=1e-4)
      # It looks to the middle.
      assert np.dot(camera[:2], camera[2:]) < 0


def test_other_rooms_are_shown_in_their_own_views(
  make_config, tmp_path, monkeypatch
):
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 256, (6, 16, 16, 3), np.uint8)
  yaw = np.radians([200, 10, 300, 90, 45, 350])
  poses = np.column_stack([np.cos(yaw), np.sin(yaw), 0 * yaw, yaw, 0 * yaw])
  for split in ('train', 'test'):
    (tmp_path / split).mkdir()
    np.savez(tmp_path / split / 'mine.npz', frames=frames, views=poses)
  config = make_config()
  config.data.update(
    source='folder', path=str(tmp_path), num_frames=6, view_size=7
  )
  config.data.test_context = (3, 0)

  def draw_nothing(model, params, key, batch, count):
    return np.zeros((count, *batch.target.frames.shape), np.float32)

  monkeypatch.setattr(explorer, 'draw_all', draw_nothing)
  axis, drawn = explorer.draw(None, None, config, [0], num_samples=2)
  (scene,) = drawn
  assert axis == explorer.YAW
  order = [1, 4, 3, 0, 2, 5]
  np.testing.assert_array_equal(scene.truth, frames[order])
  assert scene.names == [f'F{i + 1}' for i in order]
  assert scene.texts[0] == '10°, frame 2 of 6'
  assert scene.hidden.tolist() == [True, True, False, False, True, True]
  assert scene.seen == ['F4', 'F1'] and scene.places.tolist() == [2, 3]
  np.testing.assert_array_equal(scene.context, frames[[3, 0]])
  # Or from all around, where nobody knows the truth: they look outwards.
  axis, drawn = explorer.draw(
    None, None, config, [0], num_samples=2, azimuths=4
  )
  (scene,) = drawn
  assert axis.circular and 'from 90 to 200 degrees' in axis.note
  assert scene.truth is None and scene.samples.shape == (2, 4, 16, 16, 3)
  assert scene.seen == ['90°', '200°']
  np.testing.assert_allclose(scene.places, [1, 200 / 90], atol=0.1)
  around = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
  np.testing.assert_allclose(scene.cameras[2:, :2], around, atol=0.1)
  np.testing.assert_allclose(scene.cameras[2:, 2:], around, atol=0.1)
