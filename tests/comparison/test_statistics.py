"""Intervals where the answer is known, and the table of differences."""

import numpy as np
import pytest
from scipy import stats

from cgqn_jax.comparison import statistics, tables


def scores(runs, videos, seed, shift=0.0):
  """[R, V]: what is hard about a video, a run's own mean, and noise."""
  hard = np.random.default_rng(99).normal(5, 2, videos)
  rng = np.random.default_rng(seed)
  own = rng.normal(0, 0.1, (runs, 1))
  return shift + hard + own + rng.normal(0, 0.1, (runs, videos))


def test_equal_models():
  same = statistics.difference(scores(5, 200, 0), scores(5, 200, 0))
  assert same.mean == 0 and same.low < 0 < same.high
  found = [
    statistics.difference(
      scores(15, 50, seed), scores(15, 50, seed + 100), draws=1000
    )
    for seed in range(20)
  ]
  assert sum(one.low <= 0 <= one.high for one in found) >= 16


def test_a_constant_shift_is_found():
  """Videos that differ by 2 hide no shift of 0.3, for they are paired."""
  one, other = scores(7, 200, 0, shift=0.3), scores(7, 200, 1)
  found = statistics.difference(one, other)
  assert 0 < found.low < found.mean < found.high and found.replicated
  assert found.low < 0.3 < found.high < 0.6
  back = statistics.difference(other, one)
  assert back.mean == pytest.approx(-found.mean)


def test_by_hand():
  """Without noise of videos, only runs are drawn: a binomial of two."""
  one, other = np.array([[0.0] * 9, [1.0] * 9]), np.zeros((3, 9))
  found = statistics.difference(one, other)
  assert found == (0.5, 0.0, 1.0, True)
  # Without noise of runs, only videos are: the standard error of their mean.
  videos = np.random.default_rng(0).normal(size=(1, 400))
  found = statistics.difference(np.repeat(videos, 4, 0), np.zeros((4, 400)))
  half = 1.96 * videos.std() / 20
  assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_draws_are_seeded_and_videos_must_match():
  one, other = scores(3, 20, 0), scores(4, 20, 1)
  first = statistics.difference(one, other)
  assert first == statistics.difference(one, other)
  assert first != statistics.difference(one, other, seed=1)
  with pytest.raises(ValueError, match='20 and 19 videos'):
    statistics.difference(one, other[:, :19])


def test_one_run_has_no_spread():
  assert statistics.student([3.0]) is None
  assert statistics.deviation([3.0]) is None
  assert statistics.of_mean([3.0]) == (3.0, 3.0)


def test_intervals_of_the_mean():
  values = [1.0, 2.0, 4.0, 7.0]
  low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
  assert statistics.student(values) == pytest.approx((high - low) / 2)
  values = np.random.default_rng(1).normal(5.0, 1.0, 100)
  low, high = statistics.of_mean(values)
  # 1.96 standard errors of 0.1 to both sides.
  assert low < values.mean() < high
  assert high - low == pytest.approx(0.36, abs=0.06)
  assert statistics.of_mean(values) == (low, high)


def rows_of(models, seeds=3):
  """Rows and scores of each scene, of models with a shift each."""
  rows, per_scene = [], {}
  for number, (name, shift) in enumerate(models.items()):
    for seed, errors in enumerate(scores(seeds, 40, number, shift) / 1e3):
      run = f'{name}-seed{seed}'
      row = {'run': run, 'model': name, 'seed': seed, 'variance': 0.5}
      row |= {'protocol_task': 'videos', 'best_of_30': errors.mean()}
      rows.append(row)
      per_scene[run] = {'best_of_30': errors, 'example_id': np.arange(40)}
  return rows, per_scene


def test_the_table_of_differences():
  rows, per_scene = rows_of({'cgqn': 0.0, 'gqn': 0.0, 'sv2p': 2.0})
  text, found = tables.difference_table(rows, per_scene)
  assert [(pair['a'], pair['b']) for pair in found] == [
    ('cgqn', 'gqn'), ('cgqn', 'sv2p'), ('gqn', 'sv2p'),
  ]  # fmt: skip
  assert found[1]['high'] < 0 and found[1]['metric'] == 'best_of_30'
  lines = [line for line in text.splitlines() if line.startswith('| cgqn - ')]
  assert lines[0].endswith('|  |') and lines[1].endswith('| cgqn |')
  assert '| 3, 3 | -' in lines[1] and 'MSE x 1e-3, 40 scenes' in text
  assert '‡' not in text
  per_scene['gqn-seed1']['example_id'] = np.arange(1, 41)
  with pytest.raises(ValueError, match='different scenes'):
    tables.difference_table(rows, per_scene)


def test_the_table_says_where_an_interval_is_of_one_seed():
  text, found = tables.difference_table(*rows_of({'a': 0.0, 'b': 0.0}, 1))
  assert '‡: a model of these was trained with one seed' in text
  assert not found[0]['replicated']
  text, found = tables.difference_table(*rows_of({'a': 0.0}))
  assert found == [] and 'two models' in text
