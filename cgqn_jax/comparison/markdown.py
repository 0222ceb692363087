"""Tables in Markdown of rows of numbers, a row a run.

Nothing of the paper. A cell is a mean over runs and their standard deviation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]


def table(
  heads: Sequence[str], lines: Sequence[Sequence[str]], left: int
) -> str:
  """Lines of cells under their heads; all but the first `left` to the right."""
  for line in lines:
    if len(line) != len(heads):
      raise ValueError(f'{len(line)} cells under {len(heads)} heads: {line}')
  rule = ['---' if i < left else '---:' for i in range(len(heads))]
  return '\n'.join(f'| {" | ".join(line)} |' for line in [heads, rule, *lines])


def known(rows: Rows, name: str) -> list[float]:
  """The values of a metric in the rows that have it."""
  return [float(row[name]) for row in rows if row.get(name) is not None]


def mean(rows: Rows, name: str) -> float | None:
  """None where no row has the metric."""
  values = known(rows, name)
  return float(np.mean(values)) if values else None


def deviation(rows: Rows, name: str) -> float | None:
  """Standard deviation over runs, of a sample; None for fewer than two."""
  values = known(rows, name)
  return float(np.std(values, ddof=1)) if len(values) > 1 else None


def cell(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
  """Mean ± standard deviation, as far as there are rows for them."""
  its, spread = mean(rows, name), deviation(rows, name)
  if its is None:
    return '-'
  text = f'{its * scale:{form}}'
  return text if spread is None else f'{text} ± {spread * scale:{form}}'


def anchor(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
  """The mean alone: of what no run has a part in."""
  its = mean(rows, name)
  return '-' if its is None else f'{its * scale:{form}}'
