"""All scores of dice at once, of predictors that need no training."""

import json

import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.data import batches
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation import dice as dice_lib
from cgqn_jax.evaluation import dice_judge
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.models.build import build
from cgqn_jax.simulators import dice as simulator
from cgqn_jax.types import Elbo
from configs import dice
from tests.evaluation.predictors import Player

SCENES, SAMPLES, VARIANCE = 3, 12, 0.005
POSSIBLE_DIGITS = dice_judge.possible_digits  # the tests' own knows them


class Painter(Player):
  """Shows digits, the same in all views or one of its own in each."""

  def init(self, key):
    return None

  def elbo(self, params, key, batch, pixel_variance):
    """-(100 + example) nats; KL of 4 + example, and 0.5 a further view."""
    del params, key, pixel_variance
    seen = jnp.sum(batch.target_mask.astype(jnp.float32), 1)
    example = batch.example_id.astype(jnp.float32)
    kl = 4 + example + 0.5 * (seen - 1)
    return Elbo(kl - 100 - example, kl, kl)


@pytest.fixture(scope='module')
def config() -> ConfigDict:
  config = dice.get_config('preset=smoke')
  config.data.source = 'simulator'
  config.data.frame_size = 16
  return config


@pytest.fixture(scope='module')
def batch(config):
  return next(
    batches.test_batches(config, open_source(config, 'test'), SCENES, SCENES)
  )


@pytest.fixture(scope='module')
def renders(config, batch) -> np.ndarray:
  return dice_lib.possible_targets(config, 'test', batch)


@pytest.fixture(autouse=True)
def rendered_once(monkeypatch, renders):
  """The scenes are known; the tests' JAX is slow at drawing."""

  def known(split, ids, cameras, sides, frame_size, supersampling, style):
    assert style == simulator.STYLES['default']
    assert (split, frame_size, supersampling) == ('test', 16, 2)
    assert len(ids) == len(cameras) == len(sides)
    return renders[np.asarray(ids)]

  monkeypatch.setattr(dice_judge, 'possible_digits', known)


def protocol(**changes) -> dict:
  return {
    'split': 'test',
    'num_scenes': SCENES,
    'num_samples': SAMPLES,
    'num_draws': 2,
    'batch_size': SCENES,
    'seed': 0,
    'num_targets': 3,
    'pixel_variance': VARIANCE,
  } | changes


def evaluate(config, model, params=None, **changes):
  source = open_source(config, 'test')
  subject = Subject(model, params, config, source, protocol(**changes))
  return dice_lib.evaluate(subject)


@pytest.fixture
def metrics(config, renders, rendered_once) -> dict:
  """Scores whole triples, in batches of 2: the last one is filled up."""
  scores, sheet, _ = evaluate(config, Painter(renders, 7), batch_size=2)
  assert sheet.dtype == np.uint8
  assert sheet.shape[0] > SCENES * 5 * 96 and sheet.shape[1] > 8 * 96
  return scores


def test_the_renders_are_of_these_targets(config, batch, renders):
  """The true digit among them is what the data show."""
  assert renders.shape == (SCENES, 100, 3, 16, 16, 3)
  for b in range(SCENES):
    targets = np.asarray(batch.target.frames[b]).astype(int)
    difference = np.abs(renders[b].astype(int) - targets)
    share = np.mean(difference > 0, axis=(1, 2, 3, 4))
    assert share.min() < 1e-2 < np.sort(share)[1]
    assert difference[share.argmin()].max() <= 4


def test_whole_triples(metrics):
  """12 samples show 12 digits, in all three views the same."""
  assert metrics['agreement'] == metrics['class_agreement'] == 1
  assert metrics['legible_agreement'] == metrics['legible_agreement_blur'] == 1
  assert metrics['legible'] == metrics['legible_thrice'] > 0.9
  assert 11 < metrics['legible_digits'] <= 12
  assert metrics['legibility_error'] == pytest.approx(0, abs=1e-6)
  assert metrics['truth_agreement'] == 1
  assert metrics['digits'] == 12
  assert metrics['oracle_digits'] == pytest.approx(11.36, abs=0.01)
  assert 7 < metrics['classes'] <= 10
  assert metrics['chance_agreement'] == pytest.approx(1e-4)
  assert 0 < metrics['best_of_10'] < metrics['best_of_1']
  assert 'best_of_30' not in metrics  # there are only 12 samples


def test_views_of_different_digits(config, renders, metrics):
  factored, *_ = evaluate(config, Painter(renders, 7, apart=17))
  assert factored['agreement'] == factored['class_agreement'] == 0
  assert factored['legible_agreement'] == 0 < factored['legible_thrice']
  assert factored['legible_agreement_blur'] == 0
  for name, value in metrics.items():
    if name.startswith(('oracle', 'truth', 'blur', 'chance')):
      assert factored[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_batches_change_nothing(config, renders, metrics):
  other, *_ = evaluate(config, Painter(renders, 7))
  errors = metrics.pop('standard_errors')
  found = other.pop('standard_errors')
  assert found == pytest.approx(errors, rel=1e-4, abs=1e-6)
  assert other == pytest.approx(metrics, rel=1e-4, abs=1e-6)


def test_nats_are_means_over_the_scenes(metrics):
  """100, 101, 102 nats; KL_1 of 4, 5, 6 and KL_3 of one more."""
  assert metrics['negative_elbo'] == pytest.approx(101)
  assert metrics['negative_elbo_per_target'] == pytest.approx(101 / 3)
  assert metrics['kl_1'] == pytest.approx(5)
  assert metrics['kl_3'] == metrics['kl'] == pytest.approx(6)
  assert metrics['kl_ratio'] == pytest.approx(6 / 5)
  # This model's nats are the same with any weights.
  assert metrics['untrained_kl_1'] == pytest.approx(5)
  assert metrics['untrained_kl_3'] == pytest.approx(6)
  assert metrics['untrained_kl_ratio'] == pytest.approx(6 / 5)
  errors = metrics['standard_errors']
  assert errors['negative_elbo'] == pytest.approx(1 / np.sqrt(3))
  assert errors['kl_difference'] == pytest.approx(0, abs=1e-6)
  bits = 101 / (3 * 768 * np.log(2)) + 8
  assert metrics['bits_per_dimension'] == pytest.approx(bits)


def test_a_model_without_a_latent_has_no_ratio(config, renders):
  """latent=off, the first of the preset's two runs: nothing is told."""

  class Mute(Painter):
    def elbo(self, params, key, batch, pixel_variance):
      nothing = jnp.zeros(len(batch.weight))
      return Elbo(nothing - 100, nothing, nothing)

  scores, *_ = evaluate(config, Mute(renders, 7))
  assert scores['kl_1'] == scores['kl_3'] == 0
  assert scores['kl_ratio'] is scores['untrained_kl_ratio'] is None
  shown = protocol(
    model='cgqn', dataset='dice/default', step=1234, frame_size=16,
    context='5 views of three sides', hidden_frames=3,
  )  # fmt: skip
  assert 'KL_3, of 3 views' in dice_lib.report(scores, shown)


def test_the_oracle_s_share(metrics, batch, renders):
  oracles = [
    dice_judge.oracle(renders[b], np.asarray(batch.target.frames[b]), VARIANCE)
    for b in range(SCENES)
  ]
  perfect = np.mean([scene.kl_3 for scene in oracles])
  assert 0 < np.mean([scene.kl_1 for scene in oracles]) < perfect < np.log(100)
  assert metrics['oracle_kl_3'] == pytest.approx(perfect)
  assert metrics['kl_3_share'] == pytest.approx(6 / perfect)
  gain = np.mean([scene.joint - scene.factored for scene in oracles])
  assert metrics['oracle_gain'] == pytest.approx(gain)
  difference = (
    metrics['oracle_negative_factored'] - metrics['oracle_negative_joint']
  )
  assert difference == pytest.approx(gain)


def test_the_table_shows_them(metrics):
  shown = protocol(
    model='cgqn', dataset='dice/default', step=1234, frame_size=16,
    context='5 views of three sides', hidden_frames=3,
  )  # fmt: skip
  text = dice_lib.report(json.loads(json.dumps(metrics)), shown)
  assert max(map(len, text.splitlines())) <= 90
  rows = {line[:36].strip(): line[36:].split() for line in text.splitlines()}
  kl = [f'{metrics[f"oracle_kl_{n}"]:.2f}' for n in ('1', '3', 'factored')]
  assert rows['KL_1, of 1 view'] == ['5.00', '(0.58)', kl[0], kl[0]]
  assert rows['KL_3, of 3 views'] == ['6.00', '(0.58)', kl[1], kl[2]]
  assert rows['negative ELBO of 3 views'][0] == '101.00'
  same = rows['same digit in all views, share']
  assert same[:2] == ['1.000', '1.000'] and same[3] == '0.0001'
  assert rows['digits'] == ['12.000', '11.362']
  assert rows['of these one digit, share'][0] == '1.000'
  assert rows['digits in legible views'][1] == '11.362'
  assert 'fresh weights: KL_1 5.00, KL_3 6.00, ratio 1.20' in text
  # Where nothing is legible there is nothing to agree.
  text = dice_lib.report(metrics | {'legible_agreement': None}, shown)
  (line,) = [one for one in text.splitlines() if 'of these one digit' in one]
  assert line.split()[5:] == ['-', '1.000', '-', '0.0001']


@pytest.mark.parametrize('name', ['cgqn', 'gqn'])
def test_models(config, make_params, name):
  """A tiny one of each; GQN's KL of three views is about three times one's."""
  config = dice.get_config(f'preset=smoke,model={name}')
  config.data.source = 'simulator'
  config.data.frame_size = 16
  config.model.update(nf_to_hidden=4, nf_enc=5, nf_to_obs=4, nf_dec=4, kernel=3)
  model = build(config)
  metrics, *_ = evaluate(config, model, make_params(model), num_samples=10)
  json.dumps(metrics)
  errors = metrics.pop('standard_errors')
  nothing = {name for name, value in metrics.items() if value is None}
  assert nothing <= {'legible_agreement'}  # of no legible sample
  known = [value for value in metrics.values() if value is not None]
  assert all(np.isfinite([*known, *errors.values()]))
  assert metrics['kl_1'] > 0 and 0 <= metrics['agreement'] <= 1
  assert metrics['truth_legible_agreement'] == 1
  assert 0 < metrics['untrained_kl_1'] and 0 < metrics['untrained_kl_3']
  if name == 'gqn':
    assert 2.5 < metrics['kl_ratio'] < 3.5
    assert 2.5 < metrics['untrained_kl_ratio'] < 3.5


def test_calm_rooms(config, monkeypatch):
  """Ten digits to choose from, in the rooms of their own style."""
  monkeypatch.setattr(dice_judge, 'possible_digits', POSSIBLE_DIGITS)
  config = config.copy_and_resolve_references()
  config.data.config = 'calm'
  batch = next(
    batches.test_batches(config, open_source(config, 'test'), SCENES, SCENES)
  )
  renders = dice_lib.possible_targets(config, 'test', batch)
  assert renders.shape == (SCENES, 10, 3, 16, 16, 3)
  difference = renders.astype(int) - np.asarray(batch.target.frames)[:, None]
  assert np.mean(difference != 0, axis=(2, 3, 4, 5)).min(1).max() < 1e-2
  metrics, *_ = evaluate(config, Painter(renders, 7))
  assert metrics['agreement'] == metrics['legible_agreement'] == 1
  assert metrics['truth_legible'] == 1 and metrics['blur_legible'] == 0
  assert metrics['digits'] == metrics['classes'] == 10
  assert metrics['oracle_digits'] == pytest.approx(10 * (1 - 0.9**SAMPLES))
  assert 0 < metrics['oracle_kl_1'] < metrics['oracle_kl_3'] + 1e-9
  assert metrics['oracle_kl_3'] == pytest.approx(np.log(10))
  assert metrics['chance_agreement'] == 1e-2


def test_digits_that_the_judge_does_not_know(config):
  config = config.copy_and_resolve_references()
  config.data.config = 'mnist_train'
  with pytest.raises(ValueError, match="'mnist_train' cannot be judged"):
    dice_lib.evaluate(Subject(None, None, config, None, protocol()))
