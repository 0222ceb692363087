"""Collapse and explosion are named once, and nothing else is."""

import numpy as np

from cgqn_jax.training.watch import Watch


def test_explosion(make_config):
  watch, rng = Watch(make_config()), np.random.default_rng(0)
  for step in range(1, 2001):
    assert watch.update(step, rng.uniform(2, 19)) is None
  assert watch.update(2001, float('nan')) is None
  assert watch.update(2002, 90.0) is None  # 10 times the median is about 105
  text = watch.update(2003, 150.0)
  assert 'explosion: at update 2,003 the KL is 150 nats' in text
  assert 'learning_rate' in text and 'clip_norm' in text and '\n' not in text
  assert watch.update(2004, 150.0) is None  # said already


def test_the_first_growth_is_no_explosion(make_config):
  watch = Watch(make_config())
  for step in range(1, 1500):
    assert watch.update(step, 0.001) is None
  assert watch.update(1500, 5.0) is None
  early = Watch(make_config())
  for step in range(1, 999):
    assert early.update(step, 1.0) is None
  assert early.update(999, 50.0) is None


def test_collapse(make_config):
  config = make_config('networks=residual')  # weighted, warm after a quarter
  config.num_steps = 400
  watch = Watch(config)
  assert not watch.wants_samples(99, 0.01)
  assert not watch.wants_samples(100, 0.2)
  assert watch.wants_samples(100, 0.01)
  assert watch.collapse(100, 0.01, spread=0.01) is None  # they do differ
  text = watch.collapse(100, 0.01, spread=0.0001)
  assert 'collapse: at update 100 the KL is 0.01 nats' in text
  assert 'pixel_variance' in text and 'kl_weight' in text and '\n' not in text
  assert not watch.wants_samples(101, 0.01)


def test_a_model_without_a_latent_cannot_collapse(make_config):
  rooms = make_config('networks=residual')
  rooms.model.latent_steps = 0  # dice, latent=off
  for config in make_config('model=cdna'), rooms:
    assert not Watch(config).wants_samples(config.num_steps, 0.0)
