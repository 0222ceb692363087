"""Paths that users give, places to write to, and our own files.

`as_path` reads every path that a user gives; `try_file` and `try_folder` show,
before the work, whether its outcome can be written. Our own files (JSON, rows
of JSON, arrays) are read with errors of one line that name file and remedy. A
file that is written anew is old or new for a reader and after a crash, never
half; one that grows may lose its last row to a kill.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import errno
import json
import os
import pathlib
import re
import sys
import tempfile
from typing import Any, BinaryIO
import zipfile
import zlib

import numpy as np

# What the system says where a folder of a path is something else.
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)
_MEND = 'repair the file or move it away'
_TRIED = 2**16  # bytes that must find room where something shall be written
_MOST = 2**30  # bytes of arrays that an NPZ of ours may hold, unpacked
_FREE = 'free some space'
_ELSEWHERE = 'choose another place, or one that you may use'
_REMEDIES = {
  errno.ENOSPC: _FREE,
  errno.EDQUOT: _FREE,
  errno.EFBIG: 'raise the limit of file sizes (ulimit -f)',
  errno.EACCES: _ELSEWHERE,
  errno.EPERM: _ELSEWHERE,
  errno.EROFS: _ELSEWHERE,
  errno.EMFILE: 'raise the limit of open files (ulimit -n)',
  errno.ENAMETOOLONG: 'give a shorter name',
}


def as_path(given: str | os.PathLike[str]) -> pathlib.Path:
  """A path that a user gave, with `~` for the home folder.

  Raises:
    ValueError: in one line, for what names nothing on this machine, and for
      letters that the libraries underneath would write as others.
  """
  text = os.fspath(given)
  if not text:
    raise ValueError('the path is empty; give one, or leave the flag out')
  if re.match(r'[A-Za-z][\w+.-]*://', text):
    raise ValueError(
      f'{text} is no path of this machine; give a folder or file of a disk, '
      'and copy from and to other storage beforehand and afterwards'
    )
  try:
    path = pathlib.Path(text).expanduser()
  except RuntimeError as error:
    raise ValueError(
      f'{text} begins with a home folder that is not known; write the whole '
      'path'
    ) from error
  whole = os.path.abspath(path)
  try:
    # Orbax and TFDS write UTF-8, Python what the locale says.
    same = os.fsencode(whole) == whole.encode('utf-8')
  except UnicodeEncodeError:
    same = False
  if not same:
    raise ValueError(
      f'{ascii(whole)} has letters that are not UTF-8, and the encoding of '
      f'paths is {sys.getfilesystemencoding()}; set PYTHONUTF8=1, or use a '
      'path of plain letters'
    )
  return path


def try_file(path: pathlib.Path) -> pathlib.Path:
  """Returns the path of a file to write; leaves nothing behind.

  Raises:
    ValueError: in one line, where it could not be written.
  """
  try:
    if path.is_dir():
      raise ValueError(f'{path} is a folder; give a file in it')
    if path.exists():
      if not path.is_file():
        raise ValueError(f'{path} is no ordinary file; give another')
      path.open('ab').close()
  except OSError as error:
    raise ValueError(f'cannot write {path}: {explain(error)}') from error
  try_folder(_behind_link(path).parent)
  return path


def try_folder(folder: pathlib.Path) -> pathlib.Path:
  """Does the same with a folder to write into, which need not be there yet."""
  made = []
  try:
    for place in reversed((folder, *folder.parents)):
      if not os.path.lexists(place):
        place.mkdir()
        made.append(place)
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(bytes(_TRIED))
      file.flush()
      os.fsync(file.fileno())
  except OSError as error:
    error.filename = str(folder)
    raise ValueError(f'cannot write into {explain(error)}') from error
  finally:
    for place in reversed(made):
      with contextlib.suppress(OSError):
        place.rmdir()
  return folder


def explain(error: OSError) -> str:
  """What the system refused, in one line: the path, why, and what to do."""
  reason = error.strerror or str(error) or type(error).__name__
  remedy = _REMEDIES.get(error.errno)
  if error.filename is None:
    return '; '.join(filter(None, [reason, remedy]))
  path = pathlib.Path(str(error.filename))
  if error.errno in _NO_FOLDER:
    reason = obstacle(path) or reason
  return '; '.join(filter(None, [f'{path}: {reason}', remedy]))


def obstacle(path: pathlib.Path) -> str | None:
  """What stands in the way of a folder of this path, as links and files do."""
  for place in (path, *path.parents):
    if not os.path.lexists(place):
      continue
    if place.is_dir():
      return None
    if not place.is_symlink():
      return f'{place} is a file, not a folder'
    if not os.path.exists(place):
      return (
        f'{place} is a link to {os.readlink(place)}, which is not there; make '
        'that, or remove the link'
      )
  return None


def _behind_link(path: pathlib.Path) -> pathlib.Path:
  """The file itself, there or not, where the path is a link to it."""
  return pathlib.Path(os.path.realpath(path)) if path.is_symlink() else path


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A file to write; at its end it takes the place of that in `path`.

  A reader, or a crash, sees the old or the new, never half. The folder is made
  if need be, a link is followed, and an OSError names the path.
  """
  real = _behind_link(path)
  temporary = real.with_name(f'.{real.name}.tmp')
  with naming(path):
    real.parent.mkdir(parents=True, exist_ok=True)
    try:
      with temporary.open('wb') as file:
        yield file
        file.flush()
        os.fsync(file.fileno())  # a full disk may show here alone
      os.replace(temporary, real)
    except BaseException:
      with contextlib.suppress(OSError):
        temporary.unlink()
      raise


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
  """Gives an OSError the path, where the system does not say which it was."""
  try:
    yield
  except OSError as error:
    if error.filename is None:
      error.filename = str(path)
    raise


@contextlib.contextmanager
def form_of(path: pathlib.Path, remedy: str = _MEND) -> Iterator[None]:
  """Names a file when what is looked up in its content is not there.

  For the few lines that do so, so that no other error is taken for one of the
  file.
  """
  try:
    yield
  except (AttributeError, IndexError, KeyError, TypeError) as error:
    reason = str(error)
    if isinstance(error, KeyError):
      reason = f'it has no {reason}'
    raise ValueError(
      f'{path} is not of the form in which it was written ({reason}); {remedy}'
    ) from error


def replace_text(path: pathlib.Path, text: str) -> None:
  """Writes a file as `replacing` does."""
  with replacing(path) as file:
    file.write(text.encode('utf-8'))


def read_json(path: pathlib.Path, remedy: str = _MEND) -> Any:
  """The value in a file; ValueError, one line, where there is no such JSON."""
  content = _read_bytes(path, remedy)
  if not content.strip():
    raise ValueError(f'{path} cannot be read as JSON: it is empty; {remedy}')
  try:
    return json.loads(content)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{path} cannot be read as JSON: {error}; {remedy}'
    ) from error


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
  # Bytes, so that a broken one is an error of its line.
  lines = _read_bytes(path, _MEND).splitlines(keepends=True)
  if growing and lines and not lines[-1].endswith(b'\n'):
    lines.pop()
  rows = []
  for number, line in enumerate(lines, 1):
    try:
      row = json.loads(line)
      whole = isinstance(row, dict) and row.keys() >= set(fields)
    except (ValueError, RecursionError):
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

  That is NaN and infinity. The folder is made if need be.
  """
  line = json.dumps(row, allow_nan=False) + '\n'
  with naming(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('a', encoding='utf-8') as file:
      file.write(line)


def read_npz(path: pathlib.Path, remedy: str = _MEND) -> dict[str, np.ndarray]:
  """The arrays in a file; nothing in it is run, whoever made it.

  Raises:
    ValueError: in one line, for anything but arrays of at most 1 GiB.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST:
      raise ValueError(f'it holds {size:,} bytes, more than {_MOST:,}')
    with np.load(path, allow_pickle=False) as arrays:
      return dict(arrays)
  except (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise ValueError(
      f'{path} cannot be read as NPZ: {_reason(error)}; {remedy}'
    ) from error


def write_npz(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
  """Writes arrays under their names, compressed."""
  with replacing(path) as file:
    np.savez_compressed(file, **arrays)


# What systems leave behind in folders, beside hidden files.
_LEFT_BEHIND = (
  '@eadir', '@recycle', '@tmp', '#recycle', '#snapshot', '$recycle.bin',
  '__macosx', 'desktop.ini', 'ehthumbs.db', 'icon\r', 'lost+found',
  'system volume information', 'thumbs.db',
)  # fmt: skip


def is_left_behind(path: pathlib.Path) -> bool:
  """Tells whether a system left a file in a folder: by its name, or hidden."""
  return path.name[0] == '.' or path.name.lower() in _LEFT_BEHIND


def _read_bytes(path: pathlib.Path, remedy: str) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise ValueError(
      f'{path} cannot be read: {_reason(error)}; {remedy}'
    ) from error


def _reason(error: Exception) -> str:
  """What a library says of a file, in one line and without its name."""
  text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
  return text.splitlines()[0]
