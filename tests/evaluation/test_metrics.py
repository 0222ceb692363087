"""Metrics against brute force, and bounds where the truth is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal, stats

from cgqn_jax.evaluation import metrics, sampling
from cgqn_jax.types import Elbo, to_unit

KEY = jax.random.key(3)


def test_best_of_n_is_the_mean_over_subsets():
  errors = np.random.default_rng(0).gamma(2, size=(12, 3))
  for n in (1, 2, 5, 11):
    rng = np.random.default_rng(n)
    rows = [rng.permutation(12)[:n] for _ in range(20_000)]
    least = errors[np.array(rows)].min(1)
    error = least.std(0) / np.sqrt(len(least))
    difference = np.abs(metrics.best_of_n(errors, n) - least.mean(0))
    np.testing.assert_array_less(difference, 4 * error)
    assert np.all(4 * error < 0.03 * least.mean(0))


def test_best_of_n_at_its_ends_and_between():
  errors = np.random.default_rng(1).random((30, 4, 2))
  curve = np.array([metrics.best_of_n(errors, n) for n in range(1, 31)])
  np.testing.assert_allclose(curve[0], errors.mean(0))
  np.testing.assert_allclose(curve[-1], errors.min(0))
  assert np.all(np.diff(curve, axis=0) < 0)
  shuffled = metrics.best_of_n(errors[::-1], 7)
  np.testing.assert_allclose(shuffled, curve[6])
  for n in (0, 31):
    with pytest.raises(ValueError, match=f'best of {n} samples: there are 30'):
      metrics.best_of_n(errors, n)


class Painter:
  """A "model" whose samples are noise of (key, example, sample)."""

  def sample(
    self, params, key, context, mask, views, num_samples, example_id,
    first_sample,
  ):  # fmt: skip
    del context, mask

    def draw(sample, example):
      own = jax.random.fold_in(jax.random.fold_in(key, example), sample)
      shape = (views.shape[1], 16, 16, 3)
      # Beyond [0, 1], as a linear renderer's output is.
      return params * jax.random.uniform(own, shape, minval=-0.5, maxval=1.5)

    rows = jax.vmap(draw, (None, 0))
    samples = first_sample + jnp.arange(num_samples)
    return jax.vmap(rows, (0, None))(samples, example_id)


PAINTER = Painter()


@pytest.fixture(scope='module')
def scenes(make_batch):
  """A batch of 3 scenes, and 4 hypotheses of each, the truth first."""
  batch = make_batch()
  others = np.random.default_rng(5).integers(0, 256, (3, 4, 3, 16, 16, 3))
  others[:, 0] = batch.target.frames
  return batch, others.astype(np.uint8)


def draw(scenes, num_samples=7, chunk=10, scale=1.0) -> sampling.Samples:
  batch, futures = scenes
  return sampling.draw_samples(
    PAINTER, jnp.float32(scale), KEY, batch, num_samples, futures, chunk
  )


@pytest.fixture(scope='module')
def drawn(scenes) -> sampling.Samples:
  return draw(scenes)


def test_draw_samples_by_hand(scenes, drawn):
  batch, futures = scenes
  frames = PAINTER.sample(
    1.0, KEY, None, None, batch.target.views, 7, batch.example_id, 0
  )
  frames = np.clip(np.float64(frames), 0, 1)
  truth = batch.target.frames / 255
  errors = np.mean((frames - truth) ** 2, (3, 4, 5))
  np.testing.assert_allclose(drawn.errors, errors, rtol=1e-4)
  apart = frames[:, :, None] - futures / 255
  distances = np.mean(apart**2, (4, 5, 6))
  np.testing.assert_allclose(drawn.distances, distances, rtol=1e-4)
  np.testing.assert_allclose(drawn.distances[:, :, 0], drawn.errors, rtol=1e-4)
  winner = errors.mean(-1).argmin(0)
  assert len(set(winner)) > 1
  best = frames[winner, np.arange(3)]
  np.testing.assert_allclose(drawn.best, best, atol=1e-6)
  variance = frames.var(0, ddof=1).mean((1, 2, 3, 4))
  np.testing.assert_allclose(drawn.variance, variance, rtol=1e-4)


@pytest.mark.parametrize('chunk', [1, 3])
def test_chunks_change_nothing(scenes, drawn, chunk):
  for one, other in zip(draw(scenes, chunk=chunk), drawn, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_order_and_company_of_the_scenes_change_nothing(scenes, drawn):
  order = np.array([2, 0])
  some = draw(jax.tree.map(lambda x: x[order], scenes))
  for one, other in zip(some, drawn, strict=True):
    axis = 1 if one.ndim in (3, 4) and one.shape[0] == 7 else 0
    np.testing.assert_allclose(
      one, np.take(other, order, axis), rtol=1e-5, atol=1e-6
    )
  fewer = draw(scenes, num_samples=4)
  np.testing.assert_allclose(fewer.errors, drawn.errors[:4], rtol=1e-6)


def test_equal_samples_have_no_variance(scenes):
  assert np.all(draw(scenes, scale=0.0).variance == 0)
  assert draw(scenes, num_samples=1).variance.shape == (3,)


def test_best_joint_error_is_no_better_than_the_frames_alone(drawn):
  """The protocol: the least of the joint errors, never frame by frame."""
  joint = drawn.errors.mean(-1)
  for n in (1, 2, 5, 7):
    together = metrics.best_of_n(joint, n)
    alone = metrics.best_of_n(drawn.errors, n).mean(-1)
    if n == 1:  # a mean either way
      np.testing.assert_allclose(together, alone, rtol=1e-5)
    else:
      assert np.all(together > alone + 1e-5)


@pytest.mark.parametrize(('draws', 'count'), [(30, 6), (30, 100), (12, 10)])
def test_variety_of_uniform_draws(draws, count):
  """30 draws of 6 show 5.97 of them, at a distance of 0.16 to uniform."""
  rng = np.random.default_rng(0)
  rows = rng.integers(0, count, (10_000, draws))
  for values, expected in (
    ([len(set(row)) for row in rows], metrics.uniform_coverage(draws, count)),
    (
      [metrics.total_variation(row, count) for row in rows],
      metrics.uniform_total_variation(draws, count),
    ),
  ):
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - expected) < 4 * error < 0.02 * expected
  assert metrics.uniform_coverage(30, 1) == 1
  assert metrics.uniform_total_variation(30, 1) == pytest.approx(0)


def test_psnr():
  mse = np.array([1.0, 0.01, 1e-10, 1e-12, 0.0])
  np.testing.assert_allclose(metrics.psnr(mse), [0, 20, 100, 100, 100])


def test_ssim_is_an_independent_one_s():
  """A 2D window, SciPy's convolution, channel by channel."""
  rng = np.random.default_rng(0)
  one = rng.random((2, 15, 18, 3))
  other = np.clip(one + rng.normal(0, 0.2, one.shape), 0, 1)
  axis = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
  window = np.outer(axis, axis) / axis.sum() ** 2
  blur = functools.partial(signal.convolve2d, in2=window, mode='valid')

  def score(x, y):
    mx, my = blur(x), blur(y)
    xx, yy, xy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mx * my + c1) * (2 * xy + c2)
    return np.mean(top / ((mx**2 + my**2 + c1) * (xx + yy + c2)))

  expected = [
    np.mean([score(a[..., c], b[..., c]) for c in range(3)])
    for a, b in zip(one, other, strict=True)
  ]
  actual = metrics.ssim(jnp.float32(one), jnp.float32(other))
  assert 0.3 < min(expected) < max(expected) < 0.95
  np.testing.assert_allclose(actual, expected, atol=1e-4)
  same = metrics.ssim(jnp.float32(one), jnp.float32(one))
  np.testing.assert_allclose(same, 1, atol=1e-5)
  eight_bit = jnp.asarray(np.uint8(255 * one))
  np.testing.assert_allclose(
    metrics.ssim(eight_bit, to_unit(eight_bit)), 1, atol=1e-5
  )
  small = jnp.float32(one[:, :8, :8])  # smaller than the window
  np.testing.assert_allclose(metrics.ssim(small, small), 1, atol=1e-5)
  assert np.all(metrics.ssim(small, jnp.float32(other[:, :8, :8])) < 0.95)


def test_bits_per_dimension():
  """A uniform density on [0, 1] is 0 nats: 8 bits a value."""
  assert metrics.bits_per_dimension(0.0, 3072) == 8
  one = metrics.bits_per_dimension(-1000.0, 3072)
  np.testing.assert_allclose(one, 8 - 1000 / (3072 * np.log(2)))
  # n targets have n times the nats and n times the dimensions.
  np.testing.assert_allclose(metrics.bits_per_dimension(-5000.0, 5 * 3072), one)


class Line:
  """z ~ N(0, 1), x ~ N(z, 1), judged with a posterior that is too wide.

  The evidence N(x; 0, 2) is known; x is the context's first view.
  """

  mean, scale = 0.3, 1.0

  def elbo(self, params, key, batch, pixel_variance):
    del params

    def draw(example):
      return jax.random.normal(jax.random.fold_in(key, example))

    noise = jax.vmap(draw)(batch.example_id)
    x = batch.context.views[:, 0, 0]
    z = self.mean + self.scale * noise

    def log(value, mean, variance):
      constant = jnp.log(2 * np.pi * variance)
      return -0.5 * ((value - mean) ** 2 / variance + constant)

    log_ratio = log(z, self.mean, self.scale**2) - log(z, 0.0, 1.0)
    kl = jnp.full_like(x, self.mean**2 / 2)  # as scale is 1
    return Elbo(log(x, z, pixel_variance), kl, log_ratio)


LINE = Line()


@pytest.fixture(scope='module')
def copies(make_batch):
  """2000 copies of one scene with x = 1.5, each with noise of its own."""
  one = make_batch(1, 1, 1)
  one.context.views[:] = 1.5
  many = jax.tree.map(lambda x: np.repeat(x[..., :1], 2000, 0), one)
  return many._replace(example_id=np.arange(2000, dtype=np.int32))


def test_the_bounds_enclose_the_evidence(copies):
  evidence = stats.norm.logpdf(1.5, 0, np.sqrt(2))
  expected = stats.norm.logpdf(1.5, 0.3, 1) - 0.5 - 0.3**2 / 2
  means = {}
  for draws in (1, 4, 32):
    found = metrics.bounds(LINE, None, KEY, copies, 1.0, draws)
    assert found.elbo.shape == found.importance_weighted.shape == (2000,)
    np.testing.assert_allclose(found.elbo, found.log_likelihood - found.kl)
    error = found.elbo.std() / np.sqrt(2000)
    assert abs(found.elbo.mean() - expected) < 4 * error < 0.15
    means[draws] = found.importance_weighted.mean()
    spread = found.importance_weighted.std() / np.sqrt(2000)
    assert means[draws] < evidence + 4 * spread
  # One draw is the bound itself, more are tighter, many reach the evidence.
  assert abs(means[1] - expected) < 0.1
  assert expected + 0.3 < means[4] < means[32] < evidence + 0.02
  assert means[32] > evidence - 0.05
