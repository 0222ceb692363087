"""Figures look alike, in every format, and name things in words."""

from matplotlib.figure import Figure
import pytest

from cgqn_jax.figures import style
from configs import narratives


@pytest.mark.parametrize('kind', style.FORMATS)
def test_the_same_figure_is_the_same_file(kind, tmp_path):
  def draw(name):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 3, 2], label='CGQN')
    style.save(figure, tmp_path / f'{name}.{kind}')
    return (tmp_path / f'{name}.{kind}').read_bytes()

  assert draw('one') == draw('other')


def test_runs_are_named_by_what_sets_them_apart():
  def config(model='cgqn', **fields):
    made = narratives.get_config(f'preset=small,model={model}')
    made.update(fields)
    return made

  assert style.run_names([config()]) == ['CGQN']
  assert style.run_names([config(), config('gqn')]) == ['CGQN', 'GQN']
  assert style.run_names([config(batch_size=8), config(batch_size=16)]) == [
    'CGQN, batch size 8',
    'CGQN, batch size 16',
  ]
  assert style.run_names([config(), config()]) == ['CGQN, run 1', 'CGQN, run 2']
