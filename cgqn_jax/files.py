"""Small files of text, read with one-line errors and written whole or not."""

from collections.abc import Iterable, Mapping
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


def read_jsonl(path: pathlib.Path) -> list[Any]:
  """The values in a file of one per line; ValueError where there are none."""
  try:
    lines = path.read_text('utf-8').splitlines()
    return [json.loads(line) for line in lines]
  except (OSError, ValueError) as error:
    raise ValueError(f'{path} cannot be read as JSON lines: {error}') from error


def write_jsonl(path: pathlib.Path, rows: Iterable[Mapping[str, Any]]) -> None:
  """Writes rows, one per line."""
  replace_text(path, ''.join(json.dumps(row) + '\n' for row in rows))
