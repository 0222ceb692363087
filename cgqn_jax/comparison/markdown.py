"""Tables in Markdown of rows of numbers, one row per run.

A cell is a mean over runs and their standard deviation.
"""

from collections.abc import Sequence

from cgqn_jax.comparison.statistics import Rows, deviation, known, mean


def table(
  heads: Sequence[str], lines: Sequence[Sequence[str]], left: int
) -> str:
  """Lines of cells under their heads; all but the first `left` to the right."""
  for line in lines:
    if len(line) != len(heads):
      raise ValueError(f'{len(line)} cells under {len(heads)} heads: {line}')
  rule = ['---' if i < left else '---:' for i in range(len(heads))]
  return '\n'.join(f'| {" | ".join(line)} |' for line in [heads, rule, *lines])


def cell(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
  """Mean ± standard deviation, as far as there are rows for them."""
  its, spread = mean(rows, name), deviation(known(rows, name))
  if its is None:
    return '-'
  text = f'{its * scale:{form}}'
  return text if spread is None else f'{text} ± {spread * scale:{form}}'


def anchor(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
  """Mean only, for values that do not depend on the run (oracles, copies)."""
  its = mean(rows, name)
  return '-' if its is None else f'{its * scale:{form}}'
