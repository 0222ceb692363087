"""docs/api.md is what its command makes of the docstrings today."""

import pathlib
import runpy

import cgqn_jax

API = runpy.run_path(pathlib.Path(__file__).parents[1] / 'docs' / 'api.py')


def test_the_page_is_up_to_date():
  there = API['PAGE'].read_text('utf-8')
  assert there == API['page'](), 'docs/api.md is old: run python docs/api.py'


def test_the_page_has_all_that_the_package_exports():
  page = API['page']()
  for name in cgqn_jax.__all__:
    assert f'### cgqn_jax.{name}\n' in page
  for name in ('sample', 'log_likelihood', 'reconstruct'):
    assert f'#### Predictor.{name}\n' in page


def test_docstrings_become_markdown():
  """Sections and fields are lists, formulas are code, all else is text."""
  docstring = (
    'Says.\n\nwidth: of it,\n  in pixels.\n\nFirst or\nlast: no list.\n\n'
    '  x = y\n\nArgs:\n  one: a\n    b.\n\nReturns:\n  [B].'
  )
  assert API['_markdown'](docstring) == [
    'Says.', '', '* `width`: of it,', '  in pixels.', '', 'First or',
    'last: no list.', '', '```', 'x = y', '```', '', '**Args**', '',
    '* `one`: a', '  b.', '', '**Returns**', '', '[B].',
  ]  # fmt: skip
