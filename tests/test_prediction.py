"""The face for users: what it computes, and what it refuses in one line."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import cgqn_jax
from cgqn_jax.data.examples import cameras, timestamps
from cgqn_jax.evaluation import metrics
from cgqn_jax.models import densities
from cgqn_jax.models.build import build
from cgqn_jax.prediction import Predictor
from cgqn_jax.simulators import narratives
from cgqn_jax.types import Batch, Scene

KEY = jax.random.key(5)
NUMBER = 21  # frames of a video
SEEN, ASKED = [0, 3, 4], [20, 3]


@pytest.fixture(scope='module')
def make(make_config, make_params):
  """Makes a predictor of untrained weights."""

  def make(arg: str = '', config=None) -> Predictor:
    if config is None:
      config = make_config(arg)
      if config.data.protocol == 'frames':  # any context is one of training
        config.data.min_context = 0
    model = build(config)
    return Predictor(model, make_params(model), config)

  return make


@pytest.fixture(scope='module')
def predictor(make):
  return make()


@pytest.fixture(scope='module')
def videos():
  """Two of noise, uint8."""
  rng = np.random.default_rng(3)
  return rng.integers(0, 256, (2, NUMBER, 16, 16, 3), dtype=np.uint8)


def as_batch(videos: np.ndarray, seen: list[int], asked: list[int]) -> Batch:
  """The batch that the model's own functions take."""
  times = np.tile(timestamps(NUMBER), (len(videos), 1, 1))
  return Batch(
    context=Scene(videos[:, seen], times[:, seen]),
    context_mask=np.ones((len(videos), len(seen)), bool),
    target=Scene(videos[:, asked], times[:, asked]),
    target_mask=np.ones((len(videos), len(asked)), bool),
    weight=np.ones(len(videos), np.float32),
    example_id=np.arange(len(videos)),
  )


@pytest.fixture(scope='module')
def drawn(predictor, videos):
  return predictor.sample(videos[:, SEEN], SEEN, ASKED, num_samples=3, seed=5)


def test_samples_are_the_models(predictor, videos, drawn):
  batch = as_batch(videos, SEEN, ASKED)

  @jax.jit
  def sample(params):
    return predictor.model.sample(
      params, KEY, batch.context, batch.context_mask, batch.target.views, 3
    )

  expected = np.clip(sample(predictor.params), 0, 1)
  assert type(drawn) is np.ndarray and drawn.dtype == np.float32
  assert drawn.shape == (3, 2, 2, 16, 16, 3) and drawn.flags.writeable
  np.testing.assert_allclose(drawn, expected, atol=1e-5)
  assert np.ptp(drawn, axis=0).max() > 0.01  # samples differ
  other = predictor.sample(videos[:, SEEN], SEEN, ASKED, 3, seed=6)
  assert np.abs(other - drawn).max() > 0.01


def test_frames_and_times_in_all_their_forms_give_the_same(
  predictor, videos, drawn
):
  last = NUMBER - 1
  each = {
    'frames': [
      videos[:, SEEN],
      videos[:, SEEN] / 255,
      list(videos[:, SEEN]),
    ],
    'times': [
      np.array(SEEN, np.uint8),
      [SEEN, SEEN],
      [frame / last for frame in SEEN],
    ],
    'query_times': [ASKED, np.array(ASKED) / last, np.array([ASKED] * 2)],
  }
  for place, (name, forms) in itertools.product(range(3), each.items()):
    given = {name_: forms_[0] for name_, forms_ in each.items()}
    given[name] = forms[place]
    found = predictor.sample(**given, num_samples=3, seed=5)
    np.testing.assert_allclose(found, drawn, atol=1e-5, err_msg=name)


def test_times_differ_by_scene(predictor, videos, drawn):
  """Each scene with contexts and queries of its own, in another order."""
  seen, asked = [SEEN, SEEN[::-1]], [ASKED, ASKED[::-1]]
  frames = np.stack([v[rows] for v, rows in zip(videos, seen, strict=True)])
  found = predictor.sample(frames, seen, asked, num_samples=3, seed=5)
  np.testing.assert_allclose(found[:, 0], drawn[:, 0], atol=1e-5)
  np.testing.assert_allclose(found[:, 1], drawn[:, 1, ::-1], atol=1e-5)


def test_one_scene_is_a_batch_without_its_axis(predictor, videos, drawn):
  one = predictor.sample(videos[0, SEEN], SEEN, ASKED, num_samples=3, seed=5)
  np.testing.assert_allclose(one, drawn[:, 0], atol=1e-5)


def test_samples_do_not_depend_on_their_number(predictor, videos, drawn):
  many = predictor.sample(videos[:, SEEN], SEEN, ASKED, 20, seed=5)
  assert many.shape[0] == 20
  np.testing.assert_allclose(many[:3], drawn, atol=1e-5)
  # No two of them are the same draw.
  apart = np.abs(many[:, None] - many[None]).max((2, 3, 4, 5, 6))
  assert apart[~np.eye(20, dtype=bool)].min() > 1e-4


def test_nothing_seen(predictor, videos):
  """An empty context is what an all-False mask is to the model."""
  batch = as_batch(videos, [0], ASKED)
  expected = predictor.model.sample(
    predictor.params,
    KEY,
    batch.context,
    np.zeros((2, 1), bool),
    batch.target.views,
    2,
  )
  found = predictor.sample(videos[:, :0], [], ASKED, num_samples=2, seed=5)
  np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-5)
  one = predictor.sample([], [], ASKED, num_samples=2, seed=5)
  np.testing.assert_allclose(one, found[:, 0], atol=1e-5)


def test_compiles_once_per_shape(make, videos, monkeypatch):
  predictor = make()
  traces = []
  plain = predictor.model._sample
  monkeypatch.setattr(
    predictor.model, '_sample', lambda *x: (traces.append(1), plain(*x))[1]
  )
  forms = videos[0, :2], videos[0, 5:7] / 255, videos[0, :2].astype('float16')
  forms = *forms[:2], forms[2] / 255
  for seed, frames in enumerate(forms):
    predictor.sample(frames, [seed, 20], [1, seed + 2], seed=seed)
  assert len(traces) == 1
  predictor.sample(videos[0, :3], [0, 1, 2], [1, 2])
  assert len(traces) == 2


@pytest.mark.parametrize('arg', ['', 'model=gqn'])
def test_log_likelihood_is_the_importance_weighted_bound(make, videos, arg):
  """Of each frame alone, from the weights that the model's own bound gives."""
  predictor, draws = make(arg), 4
  found = predictor.log_likelihood(
    videos[:, SEEN], SEEN, videos[:, ASKED], ASKED, draws, seed=5
  )
  assert found.shape == (2, 2) and type(found) is np.ndarray
  variance = predictor.pixel_variance
  assert variance == predictor.config.pixel_variance['values'][-1]
  elbo = jax.jit(predictor.model.elbo)
  for place, frame in enumerate(ASKED):
    batch = as_batch(videos, SEEN, [frame])
    keys = [jax.random.fold_in(KEY, draw) for draw in range(draws)]
    bounds = [elbo(predictor.params, key, batch, variance) for key in keys]
    weights = np.stack([x.log_likelihood - x.log_ratio for x in bounds])
    assert np.ptp(weights, axis=0).min() > 0
    expected = special.logsumexp(weights, axis=0) - np.log(draws)
    np.testing.assert_allclose(found[:, place], expected, rtol=1e-5)
  # One scene, and a frame alone: the same numbers.
  alone = predictor.log_likelihood(
    videos[0, SEEN], SEEN, videos[0, ASKED[1:]], ASKED[1:], draws, seed=5
  )
  assert alone.shape == (1,)
  np.testing.assert_allclose(alone[0], found[0, 1], rtol=1e-5)


def test_log_likelihood_is_that_of_the_prior(predictor, videos):
  """log p(f | C) is also the mean over the prior, which has no posterior.

  At a variance at which both are exact to a few hundredths of a nat: log K,
  of 400 draws, is 6.
  """
  model, params, variance = predictor.model, predictor.params, 30.0
  found = predictor.log_likelihood(
    videos[0, SEEN], SEEN, videos[0, ASKED], ASKED, 400,
    pixel_variance=variance,
  )  # fmt: skip
  batch = as_batch(videos[:1], SEEN, ASKED)

  @jax.jit
  def of_prior(params):
    r = model.encode(params, batch.context, batch.context_mask)
    z = model.prior(params, KEY, r, 2000)
    frames = model.render(params, z, batch.target.views)[:, 0]
    truth = batch.target.frames[0].astype(np.float32) / 255
    each = densities.image_log_prob(frames, truth[None], variance)
    return jax.nn.logsumexp(each, axis=0) - jnp.log(2000)

  np.testing.assert_allclose(found, of_prior(params), atol=0.25)


def test_joint_log_likelihood(predictor, videos):
  given = videos[:, SEEN], SEEN, videos[:, ASKED], ASKED, 3
  found = predictor.log_likelihood(*given, seed=5, joint=True)
  expected = metrics.bounds(
    predictor.model,
    predictor.params,
    KEY,
    as_batch(videos, SEEN, ASKED),
    predictor.pixel_variance,
    3,
  ).importance_weighted
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  one = predictor.log_likelihood(
    videos[0, SEEN], SEEN, videos[0, ASKED], ASKED, 3, seed=5, joint=True
  )
  assert one.shape == ()
  np.testing.assert_allclose(one, expected[0], rtol=1e-5)


def test_reconstructions_are_the_models(predictor, videos):
  given = videos[:, SEEN], SEEN, videos[:, ASKED], ASKED
  found = predictor.reconstruct(*given, seed=5)
  batch = as_batch(videos, SEEN, ASKED)
  model, params = predictor.model, predictor.params
  expected = jax.jit(model.reconstruct)(params, KEY, batch)
  np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-5)
  one = predictor.reconstruct(
    videos[0, SEEN], SEEN, videos[0, ASKED], ASKED, seed=5
  )
  np.testing.assert_allclose(one, found[0], atol=1e-5)


def test_rooms_take_poses_and_cameras(make, make_dice_config):
  predictor = make(config=make_dice_config())
  rng = np.random.default_rng(0)
  frames = rng.random((2, 16, 16, 3), np.float32)
  poses = np.concatenate(
    [rng.uniform(-1, 1, (2, 3)), rng.uniform(-1, 1, (2, 2))], axis=1
  )
  given = poses, cameras(poses)
  drawn = [predictor.sample(frames, x, x[1:], num_samples=2) for x in given]
  assert drawn[0].shape == (2, 1, 16, 16, 3)
  np.testing.assert_allclose(*drawn, atol=1e-5)
  other = predictor.sample(frames, poses, poses[1:] * 0.5, num_samples=2)
  assert np.abs(other - drawn[0]).max() > 1e-3
  for change, message in [
    (np.degrees(poses), 'has the angle .* radians, -2 pi to 2 pi'),
    (poses[:, :4], 'has 4 numbers a frame; it must have 5 or 7'),
    (poses[0], r'is \[5\]; it must be \[N, 5 or 7\], one for each'),
    (given[1] * 2, 'sin and cos of yaw are no sin and cos: .* 4, not 1'),
    (poses * np.inf, 'not finite'),
    (poses[:1], 'times has 1 and frames 2; there must be one for each'),
  ]:
    assert refused(predictor, frames, change, poses, match=message)


@pytest.mark.parametrize('name', ['sssm', 'sv2p', 'cdna'])
def test_sequential_models_roll_on_or_refuse(make, videos, name):
  predictor = make(f'model={name}')
  count = predictor.config.data.max_context
  first, rest = list(range(count)), list(range(count, NUMBER))
  seen = videos[0, :count]
  drawn = predictor.sample(seen, first, [20, 8, 0], num_samples=2)
  assert drawn.shape == (2, 3, 16, 16, 3)
  np.testing.assert_allclose(drawn[0, 2], seen[0] / 255, atol=1e-6)
  found = predictor.log_likelihood(
    seen, first, videos[0, count:], rest, 2, joint=True
  )
  assert found.shape == () and np.isfinite(found)
  with pytest.raises(ValueError, match=f'^{name} has no log-likelihood of sin'):
    predictor.log_likelihood(seen, first, videos[0, count:], rest)
  with pytest.raises(ValueError, match='are trained and scored on all frames'):
    predictor.reconstruct(seen, first, videos[0, [9]], [9])
  for times in (first[::-1], [x + 1 for x in first]):
    assert refused(predictor, seen, times, rest, match='read the first frames')
  assert refused(predictor, [], [], rest, match='the context is empty; cdna')


def refused(predictor, *arguments, match: str, **options) -> str:
  with pytest.raises(ValueError) as error:
    predictor.sample(*arguments, **options)
  line = str(error.value)
  assert '\n' not in line and re.search(match, line), line
  return line


@pytest.mark.parametrize(
  ('name', 'change', 'message'),
  [
    ('frames', lambda x: x * 1.0, r'from 0 to 255; they must be from 0, black'),
    ('frames', lambda x: x / 127.5 - 1, r'from -1 to 1; they must be from 0'),
    ('frames', lambda x: x * np.nan, 'from nan to nan; they must'),
    ('frames', lambda x: x.astype(int), 'are int64; they must be uint8'),
    ('frames', lambda x: x > 9, 'of bool; it must be an array of integers or'),
    ('frames', lambda x: x[0], r'this is a single frame: frames\[None\]'),
    ('frames', lambda x: x[:, :8, :8], r'resize them to 16x16'),
    ('frames', lambda x: x[..., :1], 'grey is three equal channels'),
    ('frames', lambda x: np.moveaxis(x, -1, 1), 'channels come last'),
    ('frames', lambda x: np.insert(x, 3, 9, -1), 'leave the alpha channel'),
    ('frames', lambda x: [x[0], x[1, :8]], 'frames cannot be made an array'),
    ('frames', lambda x: 'me', 'frames is a str'),
    ('frames', lambda x: None, 'frames is a NoneType'),
    ('frames', lambda x: x[:0], 'times has 2 and frames 0; there must be one'),
    ('times', lambda x: [0.0, 3.0], 'time 3; floats are times, .* as integers'),
    ('times', lambda x: [0, -0.1], 'time -0.1; floats are times'),
    ('times', lambda x: [0, np.nan], 'time nan; floats are times'),
    ('times', lambda x: [0, 21], 'frame 21; whole numbers are frame num'),
    ('times', lambda x: [0, -1], 'frame -1; whole numbers are frame'),
    ('times', lambda x: [0], 'times has 1 and frames 2; there must be one for'),
    ('times', lambda x: [[0, 3]], r'times is \[1, 2\]; it must be \[N\], one'),
    ('times', lambda x: [False, True], 'times is a list of bool'),
    ('query_times', lambda x: [], 'query_times is empty; ask for one'),
    ('query_times', lambda x: 7, r'query_times is \[\]; it must be \[N\], one'),
    ('query_times', lambda x: [1, 99], 'query_times has frame 99; whole numb'),
    ('num_samples', lambda x: 0, 'num_samples is 0; it must be a whole number'),
    ('num_samples', lambda x: 2.5, 'num_samples is 2.5; it must be a whole'),
    ('seed', lambda x: -1, 'seed is -1; it must be a whole number, 0 to 21474'),
    ('seed', lambda x: KEY, 'seed is a .*Array.*; it must be a whole'),
  ],
)  # fmt: skip
def test_refusals(predictor, videos, name, change, message):
  given = {
    'frames': videos[0, :2], 'times': [0, 3], 'query_times': [5, 6],
    'num_samples': 2, 'seed': 0,
  }  # fmt: skip
  given[name] = change(given[name])
  assert refused(predictor, match=message, **given)


def test_refusals_of_batches_and_queries(predictor, videos):
  frames = videos[:, :2]
  assert refused(
    predictor, frames, [[0, 3]], [5],
    match=r'times is \[1, 2\]; it must be \[N\] or \[2, N\], one for each',
  )  # fmt: skip
  with pytest.raises(ValueError, match='both must be one scene, or as many'):
    predictor.reconstruct(frames, [0, 1], videos[0, 2:4], [2, 3])
  with pytest.raises(ValueError, match='query_times has 1 and query_frames 2;'):
    predictor.reconstruct(frames, [0, 1], videos[:, 2:4], [2])
  with pytest.raises(ValueError, match='query_frames are floats from 0 to 255'):
    predictor.reconstruct(frames, [0, 1], videos[:, 2:4] * 1.0, [2, 3])
  with pytest.raises(ValueError, match='query_frames is a NoneType'):
    predictor.log_likelihood(frames, [0, 1], None, [2, 3])
  given = frames, [0, 1], videos[:, 2:4], [2, 3]
  with pytest.raises(ValueError, match='pixel_variance is 0; it must be a num'):
    predictor.log_likelihood(*given, pixel_variance=0)
  with pytest.raises(ValueError, match="pixel_variance is 'x'; it must be a "):
    predictor.log_likelihood(*given, pixel_variance='x')
  with pytest.raises(ValueError, match='num_draws is 0; it must be a whole nu'):
    predictor.log_likelihood(*given, num_draws=0)


def test_contexts_that_training_never_had_are_warned_of(
  make_config, make, videos
):
  config = make_config()
  config.data.min_context, config.data.any_context_share = 2, 0.0
  config.data.max_context = 3
  predictor = make(config=config)
  for size in (1, 4):
    with pytest.warns(UserWarning, match=f'contexts of 2 to 3 .* has {size}, '):
      predictor.sample(videos[0, :size], range(size), [9], num_samples=1)
  predictor.sample(videos[0, :2], range(2), [9], num_samples=1)
  assert '2 to 3' in repr(predictor) and 'cgqn, 16x16' in repr(predictor)


def test_the_package_has_it():
  import cgqn_jax.prediction as module

  assert cgqn_jax.predictor is module.predictor
  with pytest.raises(ValueError, match='nothing does not exist, and the shipp'):
    cgqn_jax.predictor('nothing')


@pytest.mark.slow
def test_shipped_weights_through_the_face():
  """Both conventions of frames and times, and colors that were expected."""
  predictor = cgqn_jax.predictor('color_reaction')
  story = narratives.sample('color_reaction', 'test', 12)
  video = narratives.render(story, 32)
  seen = [0, 3]
  truth = video / 255
  one = predictor.sample(video[seen], seen, range(12), 16)
  times = np.arange(12) / 11
  other = predictor.sample(truth[seen], times[seen], times)
  np.testing.assert_allclose(other, one[:4], atol=1e-4)
  best = np.mean((one - truth) ** 2, axis=(1, 2, 3, 4)).min()
  assert best < 1e-3
  futures = narratives.hypotheses('color_reaction', story, seen, frame_size=32)
  shown = np.stack([narratives.render(x, 32) for x in futures])
  given = video[seen], seen
  late = [6, 11]
  possible = [
    predictor.log_likelihood(*given, x[late], late, joint=True) for x in shown
  ]
  # Of two colors in one story no future is.
  mixed = np.stack([shown[0, 6], shown[-1, 11]])
  found = predictor.log_likelihood(*given, mixed, late, joint=True)
  assert found < min(possible)
  # Each of its frames alone is as good as any.
  each = predictor.log_likelihood(*given, mixed, late)
  assert each.sum() > found
