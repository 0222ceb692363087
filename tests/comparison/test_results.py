"""What came of runs: their rows, which are best, and which failed."""

import pytest

from cgqn_jax.comparison import results
from cgqn_jax.comparison.runs import Run
from configs import dice_comparison
from tests import comparison_files


def row_of(loss, run=0):
  row = {'run': run, 'model': 'cgqn', 'variance': 0.9}
  return row | {'validation_loss': loss}


def chosen(rows, *arguments):
  return [r['run'] for r in results.choose(rows, *arguments) if r['chosen']]


def test_the_best_are_chosen_on_validation_scenes():
  rows = [row_of(loss, i) for i, loss in enumerate([3.0, 1.0, None, 2.0])]
  assert chosen(rows, 0.5, 1) == [1, 3]
  assert chosen(rows, 0.5, 7) == []


@pytest.mark.parametrize(
  ('finished', 'diverged', 'best'),
  # 30 % are 4 of 15 and 3 of 10, as in the paper; of 15 runs two may diverge.
  [(15, 0, 4), (10, 0, 3), (7, 0, 2), (13, 2, 4)],
)
def test_the_share_is_of_all_that_were_started(finished, diverged, best):
  rows = [row_of(float(i), i) for i in range(finished)]
  lost = [Run('cgqn', None, i, '', 1) for i in range(diverged)]
  assert chosen(rows, 0.3, 7, lost) == list(range(best))


def test_rows_are_flat_and_say_their_protocol(tmp_path):
  def metrics(run):
    return comparison_files.dice_metrics(-2990.0, 4.0, 4.2)

  config = dice_comparison.get_config('preset=small')
  runs = comparison_files.experiment(config, tmp_path, metrics)
  row = results.row(runs[0], tmp_path)
  assert not any(isinstance(value, dict) for value in row.values())
  expected = {
    'run': 'cgqn-variance0.01-seed0', 'model': 'cgqn', 'variance': 0.01,
    'seed': 0, 'num_steps': 1500, 'train_seconds': 100.0, 'kl_3': 4.2,
    'validation_loss': -10.0, 'error_negative_elbo': 2.5, 'protocol_seed': 0,
    'protocol_num_scenes': 200, 'protocol_split': 'test',
    'version_jax': 'none', 'date': '2020-01-02', 'parameters': 1000,
  }  # fmt: skip
  assert {name: row[name] for name in expected} == expected
  row['chosen'] = True
  results.write_rows(tmp_path, [row])
  assert results.read_rows(tmp_path) == [row]
  with pytest.raises(ValueError, match='compare.py --out=.* writes it'):
    results.read_rows(tmp_path / 'none')


def test_a_run_fails_on_validation_scenes_alone():
  row = {
    'protocol_model': 'gqn', 'validation_kl': 5.0, 'best_of_30': 0.02,
    'validation_best_of_10': 0.02, 'validation_best_of_30': 0.01,
    'validation_copy_last_frame': 0.011, 'copy_last_frame': 0.011, 'kl': 0.0,
  }  # fmt: skip
  assert results.failure(row) is None
  assert results.failure(row | {'validation_kl': 0.099}) == 'KL 0.099'
  # CDNA has no latent whose KL could tell.
  cdna = row | {'validation_kl': 0.0, 'protocol_model': 'cdna'}
  assert results.failure(cdna) is None
  worse = row | {'validation_best_of_30': 0.012}
  assert results.failure(worse) == 'worse than copying'
  # Fewer samples on validation scenes than on those of the tables.
  del worse['validation_best_of_30']
  assert results.failure(worse) == 'worse than copying'
