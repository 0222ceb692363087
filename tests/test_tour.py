"""docs/tour.ipynb: what it shows is what its cells give today."""

import ast
import json
import pathlib
import runpy

import pytest

TOUR = pathlib.Path(__file__).parents[1] / 'docs' / 'tour.ipynb'


def cells(notebook) -> list:
  return [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']


def test_it_is_executed_in_order_and_small():
  assert TOUR.stat().st_size < 2e6
  text = TOUR.read_text('utf-8')
  codes = cells(json.loads(text))
  assert [cell['execution_count'] for cell in codes] == list(
    range(1, len(codes) + 1)
  )
  outputs = [output for cell in codes for output in cell['outputs']]
  kinds = {output['output_type'] for output in outputs}
  assert kinds <= {'stream', 'display_data', 'execute_result'}
  # Nothing was warned of or printed as an error.
  assert all(output.get('name', 'stdout') == 'stdout' for output in outputs)
  assert sum('image/png' in output.get('data', {}) for output in outputs) >= 7
  for part in ('home', 'tmp', 'root', 'work'):
    assert f'/{part}/' not in text


def test_its_cells_are_python():
  notebook = json.loads(TOUR.read_text('utf-8'))
  names = set()
  for cell in cells(notebook):
    tree = ast.parse(''.join(cell['source']))
    names |= {x.attr for x in ast.walk(tree) if isinstance(x, ast.Attribute)}
  assert {'sample', 'log_likelihood', 'reconstruct', 'hypotheses'} <= names


@pytest.mark.slow
@pytest.mark.filterwarnings('default')  # of Jupyter's own
def test_it_runs(monkeypatch):
  """Every cell, in a fresh kernel, shows as much as it did."""
  for name in ('ipykernel', 'nbclient', 'nbformat'):
    pytest.importorskip(name, reason='pip install -e .[notebook]')
  monkeypatch.setenv('PYTHONPATH', str(TOUR.parents[1]))
  after = runpy.run_path(TOUR.with_suffix('.py'))['executed']()

  def kinds(notebook) -> list[list[str]]:
    return [
      [output['output_type'] for output in cell['outputs']]
      for cell in cells(notebook)
    ]

  assert kinds(after) == kinds(json.loads(TOUR.read_text('utf-8')))
  for cell in cells(after):
    for output in cell['outputs']:
      assert output.get('name', 'stdout') == 'stdout', output['text']
