"""Our own files of text: JSON, and rows of JSON, one per line.

All are read with errors of one line. A file that is written anew is old or new
for a reader and after a crash, never half; one that grows may lose its last
row to a kill.
"""

from collections.abc import Iterable, Mapping, Sequence
import json
import os
import pathlib
from typing import Any


def replace_text(path: pathlib.Path, text: str) -> None:
  """Writes a file so that a reader, or a crash, sees old or new, never half."""
  temporary = path.with_name(f'.{path.name}.tmp')
  temporary.write_text(text, 'utf-8')
  os.replace(temporary, path)


def read_json(path: pathlib.Path) -> Any:
  """The value in a file; ValueError, one line, where there is no such JSON."""
  try:
    return json.loads(path.read_text('utf-8'))
  except (OSError, ValueError) as error:
    raise ValueError(f'{path} cannot be read as JSON: {error}') from error


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a value, indented."""
  replace_text(path, json.dumps(value, indent=2) + '\n')


def read_jsonl(
  path: pathlib.Path, fields: Sequence[str] = (), *, growing: bool = False
) -> list[dict[str, Any]]:
  """The rows in a file of one per line.

  Args:
    path: of the file.
    fields: that every row must have.
    growing: if rows are appended to the file, so that a kill may have cut the
      last line; it is then left out.

  Raises:
    ValueError: in one line, for anything but such rows.
  """
  try:
    lines = path.read_text('utf-8').splitlines(keepends=True)
  except (OSError, ValueError) as error:
    raise ValueError(f'{path} cannot be read as JSON lines: {error}') from error
  if growing and lines and not lines[-1].endswith('\n'):
    lines.pop()
  rows = []
  for number, line in enumerate(lines, 1):
    try:
      row = json.loads(line)
      whole = isinstance(row, dict) and row.keys() >= set(fields)
    except ValueError:
      whole = False
    if not whole:
      raise ValueError(
        f'{path}, line {number}: not a row of {", ".join(fields) or "values"}; '
        'repair or move the file'
      )
    rows.append(row)
  return rows


def write_jsonl(path: pathlib.Path, rows: Iterable[Mapping[str, Any]]) -> None:
  """Writes rows, one per line."""
  replace_text(path, ''.join(json.dumps(row) + '\n' for row in rows))


def append_jsonl(path: pathlib.Path, row: Mapping[str, Any]) -> None:
  """Adds a row at the end of a file; ValueError for what JSON has no word of.

  That is NaN and infinity.
  """
  with path.open('a', encoding='utf-8') as file:
    file.write(json.dumps(row, allow_nan=False) + '\n')


# What systems leave behind in folders, beside hidden files.
_LEFT_BEHIND = (
  '@eadir', '@recycle', '@tmp', '#recycle', '#snapshot', '$recycle.bin',
  '__macosx', 'desktop.ini', 'ehthumbs.db', 'icon\r', 'lost+found',
  'system volume information', 'thumbs.db',
)  # fmt: skip


def is_left_behind(path: pathlib.Path) -> bool:
  """Whether a system left it in a folder: hidden, or a name that it gives."""
  return path.name[0] == '.' or path.name.lower() in _LEFT_BEHIND
