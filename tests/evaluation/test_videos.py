"""All scores at once, of predictors that need no training."""

import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.data import batches
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation import metrics as metrics_lib
from cgqn_jax.evaluation import narrative_judge, videos
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.types import Elbo
from tests.evaluation.predictors import Player

SCENES, SAMPLES = 5, 6


class Oracle(Player):
  """A bound that tells the scene: -(100 + example) nats, 10 of them KL."""

  def elbo(self, params, key, batch, pixel_variance):
    del params, key, pixel_variance
    ones = jnp.ones(batch.weight.shape)
    likelihood = -90.0 - batch.example_id.astype(jnp.float32)
    return Elbo(likelihood, 10 * ones, 10 * ones)


@pytest.fixture(scope='module')
def config(make_config) -> ConfigDict:
  config = make_config()
  config.data.test_context = (0, 1, 2, 3, 4, 5)
  return config


@pytest.fixture(scope='module')
def futures(config) -> np.ndarray:
  return narrative_judge.possible_futures(
    config.data.config, 'test', range(SCENES), range(6), range(6, 21), 16
  )[0]


def evaluate(config, model, batch_size):
  protocol = {
    'split': 'test',
    'num_scenes': SCENES,
    'num_samples': SAMPLES,
    'num_draws': 2,
    'batch_size': batch_size,
    'seed': 0,
    'num_targets': 3,
    'pixel_variance': 0.5,
  }
  source = open_source(config, 'test')
  return videos.evaluate(Subject(model, None, config, source, protocol))


def true_scenes(config) -> np.ndarray:
  source = open_source(config, 'test')
  return batches.whole_scenes(source, range(SCENES)).frames / 255


@pytest.fixture(scope='module')
def metrics(config, futures) -> dict:
  """Scores the perfect predictor by 2 scenes: the last batch is filled up."""
  scores, sheet, _ = evaluate(config, Oracle(futures), 2)
  assert sheet.dtype == np.uint8
  return scores


def test_the_perfect_predictor(metrics, futures):
  """6 samples show the 6 futures, each one once."""
  assert metrics['validity'] == metrics['agreement'] == 1
  assert metrics['modes'] == metrics['valid_modes'] == 6
  assert metrics['validity_half'] == 1 and metrics['valid_modes_half'] == 6
  assert metrics['total_variation'] == pytest.approx(0)
  assert metrics['oracle_modes'] == pytest.approx(6 * (1 - (5 / 6) ** 6))
  one, three, six = (metrics[f'best_of_{n}'] for n in (1, 3, 6))
  assert one == pytest.approx(metrics['oracle_best_of_1'], rel=1e-5)
  # Three of the six are different, three draws need not be.
  assert 0.5 * metrics['oracle_best_of_3'] < three < metrics['oracle_best_of_3']
  assert six == pytest.approx(0, abs=1e-7)
  assert metrics['oracle_best_of_6'] < metrics['pixel_mean'] < one
  assert 'best_of_10' not in metrics  # there are only 6 samples
  assert metrics['best_psnr'] > 60 and metrics['best_ssim'] > 0.999
  # Mean squared difference of two samples.
  twice = 2 * (futures / 255).var(1, ddof=1).mean()
  assert metrics['diversity'] == pytest.approx(twice, rel=1e-4)
  assert metrics['oracle_kl'] == pytest.approx(np.log(6))
  np.testing.assert_allclose(metrics['mse_by_frame'], np.zeros(15), atol=1e-7)
  # All samples, once each: all futures' error, frame by frame.
  unit = futures / 255
  apart = (unit - unit[:, :1]) ** 2
  np.testing.assert_allclose(
    metrics['mean_mse_by_frame'], apart.mean((0, 1, 3, 4, 5)), rtol=1e-4
  )
  assert np.mean(metrics['mean_mse_by_frame']) == pytest.approx(one)


def test_frames_that_do_not_belong_together(config, futures, metrics):
  factored = evaluate(config, Oracle(futures, apart=1), SCENES)[0]
  assert factored['agreement'] < 0.75 and factored['validity'] < 0.3
  assert factored['mse_by_frame'] != metrics['mse_by_frame']
  for name, value in metrics.items():
    if 'oracle' in name or 'copy' in name or name == 'pixel_mean':
      assert factored[name] == pytest.approx(value, rel=1e-5), name


def test_batches_change_nothing(config, futures, metrics):
  other = evaluate(config, Oracle(futures), SCENES)[0]
  assert other.keys() == metrics.keys()
  for name, value in metrics.items():
    assert other[name] == pytest.approx(value, rel=1e-4, abs=1e-7), name


def test_bounds_are_means_over_the_scenes(metrics):
  """100, ..., 104 nats; a scene that fills up a batch counts for nothing."""
  assert metrics['negative_elbo'] == pytest.approx(102)
  assert metrics['negative_elbo_per_target'] == pytest.approx(34)
  assert metrics['kl'] == pytest.approx(10)
  assert metrics['negative_importance_weighted'] == pytest.approx(102)
  bits = 102 / (3 * 768 * np.log(2)) + 8
  assert metrics['bits_per_dimension'] == pytest.approx(bits)


def test_trivial_predictors_by_hand(config, futures, metrics):
  scenes = true_scenes(config)
  copied = np.mean((scenes[:, 6:] - scenes[:, 5:6]) ** 2)
  assert metrics['copy_last_frame'] == pytest.approx(copied)
  assert metrics['copy_nearest_frame'] == pytest.approx(copied)
  mean = futures.mean(1) / 255
  assert metrics['pixel_mean'] == pytest.approx(
    np.mean((mean - futures[:, 0] / 255) ** 2)
  )


@pytest.fixture(scope='module')
def grey() -> Oracle:
  """A predictor of grey frames, whatever it is asked for."""
  return Oracle(np.full((SCENES, 6, 21, 16, 16, 3), 128, np.uint8))


def test_a_narrative_whose_futures_cannot_be_counted(make_config, grey):
  config = make_config('narrative=dag_chase')
  config.data.test_context = (0, 1, 2, 3, 4, 5)
  metrics = evaluate(config, grey, SCENES)[0]
  assert not any('oracle' in name for name in metrics)
  assert 'validity' not in metrics and 'pixel_mean' not in metrics
  scenes = true_scenes(config)
  error = np.mean((scenes[:, 6:] - 128 / 255) ** 2, (2, 3, 4))
  assert metrics['best_of_3'] == pytest.approx(error.mean(), rel=1e-5)
  np.testing.assert_allclose(metrics['mse_by_frame'], error.mean(0), rtol=1e-5)
  psnr = metrics_lib.psnr(error).mean()
  assert metrics['best_psnr'] == pytest.approx(psnr, rel=1e-5)
  assert metrics['diversity'] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
  ('context', 'nearest'),
  [
    ((12, 4), [4] * 8 + [12] * 11),  # F9 is as near to both: the earlier one
    ((20,), [20] * 20),
  ],
)
def test_contexts_without_frame_1(make_config, grey, context, nearest):
  """What may have come before them is not listed, so no judge and no oracle."""
  config = make_config()
  config.data.test_context = context
  metrics = evaluate(config, grey, SCENES)[0]
  assert videos.unjudged(config) == (
    'futures are counted from F1, which is unseen'
  )
  assert not any('oracle' in name or 'valid' in name for name in metrics)
  assert not {'pixel_mean', 'modes', 'agreement'} & set(metrics)
  scenes = true_scenes(config)
  hidden = [i for i in range(21) if i not in context]
  error = np.mean((scenes[:, hidden] - 128 / 255) ** 2, (2, 3, 4))
  assert metrics['best_of_6'] == pytest.approx(error.mean(), rel=1e-5)
  np.testing.assert_allclose(
    metrics['mean_mse_by_frame'], error.mean(0), rtol=1e-5
  )
  for name, copied in (
    ('copy_nearest_frame', nearest),
    ('copy_last_frame', [max(context)] * len(hidden)),
  ):
    apart = (scenes[:, hidden] - scenes[:, copied]) ** 2
    assert metrics[name] == pytest.approx(apart.mean()), name


def test_an_empty_context(make_config, grey):
  """All frames are judged; there is none to repeat."""
  config = make_config()
  config.data.test_context = ()
  metrics = evaluate(config, grey, 2)[0]
  assert len(metrics['mean_mse_by_frame']) == 21
  assert metrics['best_of_3'] > 0 and np.isfinite(metrics['negative_elbo'])
  assert not any('copy' in name or 'valid' in name for name in metrics)


def test_why_the_simulator_does_not_judge(make_config):
  config = make_config('narrative=dag_chase')
  assert videos.unjudged(config) == 'the futures of dag_chase cannot be counted'
  config = make_config()
  config.data.test_context = (5, 0)
  assert videos.unjudged(config) is None
  config.data.source = 'folder'
  assert 'did not make' in videos.unjudged(config)


def test_videos_of_unequal_lengths(make_config, grey, tmp_path):
  """What a shorter one lacks is in no score, whatever its batch."""
  config = make_config()
  rng = np.random.default_rng(0)
  lengths = (21, 8, 11, 8, 15)
  (tmp_path / 'test').mkdir()
  scenes = []
  for n, count in enumerate(lengths):
    scenes.append(rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))
    np.savez(tmp_path / 'test' / f'{n}.npz', frames=scenes[n])
  config.data.update(
    source='folder', path=str(tmp_path), test_context=(1, 0), num_targets=3,
    min_context=1,
  )  # fmt: skip
  metrics, sheet, rows = evaluate(config, grey, 2)
  hidden = [scene[2:] / 255 for scene in scenes]
  errors = [np.mean((x - 128 / 255) ** 2, (1, 2, 3)) for x in hidden]
  expected = np.mean([error.mean() for error in errors])
  assert metrics['best_of_3'] == pytest.approx(expected, rel=1e-5)
  assert metrics['diversity'] == pytest.approx(0, abs=1e-6)
  np.testing.assert_allclose(
    rows['errors'][:, 0], [error.mean() for error in errors], rtol=1e-5
  )
  by_frame = [
    np.mean([error[t] for error in errors if t < len(error)]) for t in range(19)
  ]
  np.testing.assert_allclose(metrics['mse_by_frame'], by_frame, rtol=1e-5)
  copied = [
    np.mean((x - scene[1] / 255) ** 2)
    for x, scene in zip(hidden, scenes, strict=True)
  ]
  assert metrics['copy_last_frame'] == pytest.approx(np.mean(copied))
  # Blank cells behind the end of scene 1, the second of the sheet.
  blank = (sheet == 238).all(-1)
  assert 0.02 < blank.mean() < 0.5
