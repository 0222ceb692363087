"""Batches: functions of (seed, step), ragged, inside their protocol."""

import contextlib
import itertools

from absl import flags
import chex
import jax
from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.data import batches as batches_lib
from cgqn_jax.data import protocols
from cgqn_jax.data.sources import open_source
from cgqn_jax.simulators import narratives


@pytest.fixture
def config(make_config) -> ConfigDict:
  """The paper's protocol on simulated Traveling Salesman, 16x16, 256 scenes."""
  config = make_config()
  config.data.update(
    min_context=3,
    max_context=6,
    context_window=6,
    any_context_share=0.0,
    num_targets=4,
    test_context=(0, 1, 2, 3, 4, 5),
  )
  return config


def take(config: ConfigDict, count: int, step: int = 0) -> list:
  """The first batches from a step on, on the host."""
  source = open_source(config, 'train')
  # Closed, for some tests have processes read.
  with contextlib.closing(
    batches_lib.training_batches(config, source, step)
  ) as batches:
    return jax.device_get(list(itertools.islice(batches, count)))


def validation(config: ConfigDict, num_scenes: int, batch_size: int) -> list:
  source = open_source(config, 'validation')
  batches = batches_lib.validation_batches(
    config, source, num_scenes, batch_size
  )
  return jax.device_get(list(batches))


def tables(
  config: ConfigDict,
  num_scenes: int,
  batch_size: int,
  num_targets: int | None = None,
) -> list:
  source = open_source(config, 'test')
  batches = batches_lib.test_batches(
    config, source, num_scenes, batch_size, num_targets
  )
  return jax.device_get(list(batches))


def index(views: np.ndarray) -> np.ndarray:
  """Frame numbers of 21 from timestamps [..., 1]."""
  return np.round(views[..., 0] * 20).astype(int)


def contexts_of(batches: list) -> list[list[int]]:
  """The frames of each scene's context, all different."""
  contexts = []
  for batch in batches:
    for mask, views in zip(
      batch.context_mask, index(batch.context.views), strict=True
    ):
      contexts.append(views[mask].tolist())
      assert len(set(contexts[-1])) == len(contexts[-1])
  return contexts


def test_batches_are_a_function_of_seed_and_step(config):
  batches = take(config, 5)
  chex.assert_trees_all_equal(batches, take(config, 5))
  chex.assert_trees_all_equal(batches[3:], take(config, 2, step=3))
  ids = [batch.example_id.tolist() for batch in batches]
  assert len(set(map(tuple, ids))) == 5
  config.seed = 1
  assert take(config, 1)[0].example_id.tolist() != ids[0]


def test_a_batch_s_arrays(config):
  (batch,) = take(config, 1)
  assert batch.context.frames.shape == (4, 6, 16, 16, 3)
  assert batch.target.frames.shape == (4, 4, 16, 16, 3)
  assert batch.context.views.shape == (4, 6, 1)
  for x, dtype in [
    (batch.context.frames, np.uint8), (batch.target.frames, np.uint8),
    (batch.context.views, np.float32), (batch.context_mask, bool),
    (batch.target_mask, bool), (batch.weight, np.float32),
    (batch.example_id, np.int32),
  ]:  # fmt: skip
    assert x.dtype == dtype
  assert batch.target_mask.all() and (batch.weight == 1).all()


def test_frames_are_those_of_their_scene_and_time(config):
  (batch,) = take(config, 1)
  for b, example_id in enumerate(batch.example_id):
    story = narratives.sample('traveling_salesman', 'train', int(example_id))
    video = narratives.render(story, 16).astype(int)
    for scene in batch.context, batch.target:
      difference = scene.frames[b] - video[index(scene.views[b])]
      assert np.mean(difference != 0) <= 1e-3 and np.abs(difference).max() <= 4


def test_contexts_are_ragged_and_inside_the_window(config):
  """M ~ U{3..6} different frames of the first 6; 2 targets of all 21."""
  config.data.num_targets = 2
  config.batch_size = 32
  batches = take(config, 8)
  contexts = contexts_of(batches)
  sizes = list(map(len, contexts))
  # 64 of 256 each; four standard deviations are 28.
  assert all(36 < sizes.count(n) < 92 for n in (3, 4, 5, 6))
  assert set(sizes) == {3, 4, 5, 6} and max(map(max, contexts)) == 5
  frames = set()
  for batch in batches:
    # True first: padding comes last.
    assert np.all(np.diff(batch.context_mask.astype(int), axis=1) <= 0)
    targets = index(batch.target.views)
    assert np.all(targets[:, 0] != targets[:, 1])
    frames |= set(targets.ravel())
  assert frames == set(range(21))


def test_contexts_of_anything(config):
  """U{0..6} of all 21 frames, so that empty ones are among them."""
  config.data.update(any_context_share=1.0, num_targets=1)
  config.batch_size = 32
  contexts = contexts_of(take(config, 4))
  assert set(itertools.chain(*contexts)) == set(range(21))
  assert set(map(len, contexts)) == set(range(7))


def test_half_of_either(config):
  """The window bounds its contexts and not the others."""
  config.data.update(max_context=12, any_context_share=0.5, num_targets=1)
  config.batch_size = 32
  batches = take(config, 4)
  assert batches[0].context_mask.shape == (32, 12)
  contexts = contexts_of(batches)
  late = [max(context, default=0) > 5 for context in contexts]
  # Half of the scenes, but for those of 0 or of only early frames: 45 %.
  assert 0.25 < np.mean(late) < 0.6
  sizes = np.array(list(map(len, contexts)))
  assert sizes[np.logical_not(late)].max() == 6 and sizes[late].max() == 12


def test_color_reaction_shows_two_of_twelve(make_config):
  config = make_config('narrative=color_reaction')
  config.data.update(min_context=2, max_context=2, context_window=12)
  config.data.any_context_share = 0.0
  config.data.test_context = (0, 3)
  (batch,) = take(config, 1)
  assert batch.context_mask.shape == (4, 2) and batch.context_mask.all()
  (batch,) = tables(config, 1, 1)
  np.testing.assert_allclose(batch.context.views[0, :, 0], [0, 3 / 11])
  hidden = np.array([1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
  np.testing.assert_allclose(batch.target.views[0, :, 0], hidden / 11)


@pytest.mark.parametrize('dataset', ['narratives', 'dice'])
def test_worker_processes_read_the_same_batches(
  dataset, make_config, make_dice_config
):
  """From any step on; a simulator's workers leave the devices alone."""
  flags.FLAGS.mark_as_parsed()  # as every program does; grain asks
  config = {'narratives': make_config, 'dice': make_dice_config}[dataset]()
  alone = take(config, 5, step=2)
  config.data.workers = 2
  chex.assert_trees_all_equal(take(config, 5, step=2), alone)


def test_every_scene_comes_once_an_epoch(config):
  config.data.num_targets = 1
  config.batch_size = 64
  config.data.update(min_context=0, max_context=0, context_window=0)
  epochs = [[], []]
  for n, batch in enumerate(take(config, 8)):
    epochs[n // 4] += batch.example_id.tolist()
  assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(256))
  assert epochs[0] != epochs[1]


def test_the_stream_is_longer_than_any_dataset(config):
  config.data.tiny = False
  ids = take(config, 1)[0].example_id
  assert ids.max() > 100_000 and len(set(ids.tolist())) == 4


def test_processes_share_a_batch(config, monkeypatch):
  """Two processes read, between them, what one process would."""
  (whole,) = take(config, 1)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  for process in (0, 1):
    monkeypatch.setattr(jax, 'process_index', lambda p=process: p)
    (share,) = take(config, 1)
    chex.assert_trees_all_equal(
      share,
      jax.tree.map(lambda x: x[process::2], whole),  # noqa: B023
    )


def test_weights_of_the_last_batch(config):
  for first, last in validation(config, 6, 4), tables(config, 6, 4, 1):
    assert first.weight.tolist() == [1, 1, 1, 1]
    assert first.example_id.tolist() == [0, 1, 2, 3]
    assert last.weight.tolist() == [1, 1, 0, 0]
    assert last.example_id[:2].tolist() == [4, 5]
    assert last.target.views.shape[0] == 4


def test_validation_is_the_same_every_time(config):
  (one,), (other,) = validation(config, 4, 4), validation(config, 3, 3)
  chex.assert_trees_all_equal(jax.tree.map(lambda x: x[:3], one), other)
  sizes = one.context_mask.sum(1)
  assert sizes.min() >= 3 and sizes.max() <= 6


def test_test_batches_hide_all_other_frames(config):
  (batch,) = tables(config, 2, 2)
  assert index(batch.context.views).tolist() == [[0, 1, 2, 3, 4, 5]] * 2
  assert index(batch.target.views).tolist() == [list(range(6, 21))] * 2
  (some,) = tables(config, 2, 2, num_targets=3)
  for b, views in enumerate(index(some.target.views)):
    assert list(views) == sorted(set(views)) and min(views) > 5
    frames = batch.target.frames[b][views - 6]
    np.testing.assert_array_equal(some.target.frames[b], frames)
  config.data.test_context = ()
  (empty,) = tables(config, 1, 1)
  assert not empty.context_mask.any() and empty.context_mask.shape == (1, 1)
  assert index(empty.target.views).tolist() == [list(range(21))]


def test_sequences(make_config):
  """The first six frames in order, then all others in order."""
  config = make_config('model=sv2p')
  batches = take(config, 2) + validation(config, 4, 4)
  for batch in batches + tables(config, 4, 4, config.data.num_targets):
    assert batch.context_mask.all() and batch.target_mask.all()
    for b in range(4):
      assert index(batch.context.views)[b].tolist() == list(range(6))
      assert index(batch.target.views)[b].tolist() == list(range(6, 21))
  config.data.num_targets = 4
  with pytest.raises(ValueError, match="'sequence'.*num_targets is 4.* 15"):
    protocols.check(config)


def test_hidden_sides(make_dice_config):
  """Ragged contexts and targets of dice; the tables' are always the same."""
  config = make_dice_config()
  protocols.check(config)
  for batch in take(config, 2):
    assert batch.context.frames.shape == (4, 6, 16, 16, 3)
    assert batch.target.views.shape == (4, 3, 7)
    assert np.all((batch.context_mask.sum(1) >= 1) & batch.target_mask[:, 0])
  (batch,) = tables(config, 4, 4)
  assert batch.context.frames.shape == (4, 5, 16, 16, 3)
  assert batch.target_mask.all() and batch.target.views.shape == (4, 3, 7)
  rooms = batches_lib.scenes(open_source(config, 'test'), range(4))
  for b, room in enumerate(rooms):
    views = protocols.for_config(config).for_tables(config, room)
    assert views.hidden_side == batch.hidden_side[b]
    assert np.all(room.face_pixels[views.context, views.hidden_side] == 0)
    np.testing.assert_array_equal(
      batch.target.views[b], room.views[views.targets]
    )
  config.data.source = 'folder'
  with pytest.raises(ValueError, match="'hidden_side', and dice from 'folder'"):
    protocols.check(config)


def test_whole_scenes(config):
  scenes = batches_lib.whole_scenes(open_source(config, 'test'), [7, 2])
  assert scenes.frames.shape == (2, 21, 16, 16, 3)
  assert index(scenes.views).tolist() == [list(range(21))] * 2
  (batch,) = tables(config, 3, 3)
  np.testing.assert_array_equal(scenes.frames[1, 6:], batch.target.frames[2])
  with pytest.raises(ValueError, match='no scene 256; it has 0 to 255'):
    batches_lib.whole_scenes(open_source(config, 'test'), [0, 256])


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'test_context': (0, 21)}, 'test_context has frame 21; .* 0 to 20'),
    ({'test_context': (1, 1)}, 'names a frame twice'),
    ({'test_context': tuple(range(21))}, 'names all 21 frames'),
    ({'min_context': 7}, 'min_context is 7; it must be 0 to 6'),
    ({'min_context': 7, 'max_context': 9}, 'must be 0 to 6'),
    ({'max_context': 22}, 'max_context is 22; the video has 21'),
    ({'context_window': 22}, 'context_window is 22; the video has 21'),
    ({'num_targets': 22}, 'num_targets is 22; it must be 1 to 21'),
  ],
)
def test_protocols_that_do_not_fit(config, change, message):
  protocols.check(config)
  config.data.update(change)
  with pytest.raises(ValueError, match=message) as error:
    protocols.check(config)
  assert '\n' not in str(error.value)
