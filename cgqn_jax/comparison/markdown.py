"""Tables in Markdown of rows of numbers, one row per run.

A cell is a mean over runs and their standard deviation.
"""

from collections.abc import Mapping, Sequence

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


def section(
  title: str, lines: Sequence[Mapping[str, str]], left: int, notes: str
) -> str:
  """A title, a table and notes on it.

  Args:
    title: of the section.
    lines: cells by their heads; the first line has them all, and a cell that
      another lacks is blank.
    left: columns that are not numbers.
    notes: a paragraph.
  """
  heads = list(lines[0])
  cells = [[line.get(head, '') for head in heads] for line in lines]
  return '\n\n'.join([f'### {title}', table(heads, cells, left), notes])


def cell(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
  """Mean ± standard deviation, as far as there are rows for them."""
  text, spread = anchor(rows, name, form, scale), deviation(known(rows, name))
  return text if spread is None else f'{text} ± {spread * scale:{form}}'


def anchor(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
  """Mean only, for values that do not depend on the run (oracles, copies)."""
  value = mean(rows, name)
  return '-' if value is None else f'{value * scale:{form}}'
