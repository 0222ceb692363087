"""What a training says of itself before, at first and at its end."""

import jax
import pytest

from cgqn_jax.models.build import build
from cgqn_jax.training import summary
from cgqn_jax.training.metrics_log import Log
from configs import narratives


def test_a_plan_names_what_will_be_done(make_config, model, params):
  config = make_config('narrative=color_reaction')
  text = summary.plan(model, config)
  size = sum(x.size for x in jax.tree.leaves(params))
  assert f'cgqn (draw networks, {size:,} parameters)' in text
  assert 'on narratives/color_reaction, 16x16: 20 updates of 4 scenes' in text
  assert 'on 4 x cpu' in text and 'note' not in text
  assert summary.plan(model, config, 3).startswith('3 x cgqn')
  large = narratives.get_config('preset=paper')
  note = summary.plan(build(large), large).splitlines()[1]
  assert 'days or weeks on a CPU; preset=small' in note


@pytest.mark.parametrize(
  ('preset', 'remedy'),
  [('paper', 'preset=small'), ('small', '--config.num_steps=N')],
)
def test_an_outlook_of_many_hours_names_what_is_shorter(preset, remedy):
  config = narratives.get_config(f'preset={preset}')

  def outlook(hours: float, fresh: bool = True) -> str:
    return summary.outlook(
      config,
      seconds=hours * 3600,
      rate=0.02,
      untimed={'validation': 80},
      fresh=fresh,
    )

  assert outlook(219) == f'{outlook(219, False)}; {summary._shorter(config)}'
  assert outlook(219, False) == (
    'about 9 days 3 h to go on this machine, at 50 s/update; 80 x validation '
    'not timed yet'
  )
  assert remedy in outlook(219) and remedy not in outlook(3)
  assert remedy not in outlook(219, False)


def test_the_outcome_is_the_best_validation(tmp_path):
  rows = [
    {'mse': 0.01, 'best_of_30': 0.002},
    {'mse': 0.02, 'best_of_30': 0.001125},
    {'mse': 0.005, 'best_of_30': float('nan')},
    {'mse': 0.005, 'best_of_30': 0.0015},
  ]
  with Log(tmp_path / 'a') as log:
    for step, row in enumerate(rows, 1):
      log.scalars(500 * step, row, split='validation')
  text = 'best of 30 on validation 1.12 x 1e-3, at update 1,000'
  assert summary.outcome(tmp_path / 'a') == text
  with Log(tmp_path / 'b') as log:
    log.scalars(7, {'mse': 0.0123}, split='validation')
    log.scalars(8, {'mse': 0.0456}, split='validation')
  text = 'MSE on validation 12.3 x 1e-3, at update 7'
  assert summary.outcome(tmp_path / 'b') == text
  assert summary.mean_error([{'mse': 1.0}, {'mse': 3.0}]) == ('MSE', 2.0)
  with Log(tmp_path / 'c') as log:
    log.scalars(7, {'mse': float('inf')}, split='validation')
  assert summary.outcome(tmp_path / 'c') == 'no validation is finite'
