"""Paths, places to write to, and our own files: damage is one line."""

import errno
import os
import pathlib

import numpy as np
import pytest

from cgqn_jax import files


def left(folder: pathlib.Path) -> list[str]:
  return sorted(str(p.relative_to(folder)) for p in folder.rglob('*'))


def test_a_path_is_read_as_a_shell_would(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert files.as_path('~/run[1]') == tmp_path / 'run[1]'
  assert files.as_path(tmp_path / 'größe und mehr') == tmp_path / (
    'größe und mehr'
  )


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ('', 'the path is empty'),
    ('gs://bucket/run', 'gs://bucket/run is no path of this machine'),
    ('s3://bucket/run', 'no path of this machine'),
    ('~nobody-of-this-name/run', 'a home folder that is not known'),
    ('run\udcfc', r"run\\udcfc' has letters that are not UTF-8"),
  ],
)
def test_what_is_no_path(given, message):
  with pytest.raises(ValueError, match=message) as error:
    files.as_path(given)
  assert '\n' not in str(error.value)


def test_a_path_that_a_locale_writes_otherwise_is_refused(monkeypatch):
  """Orbax would save into a folder of another name."""
  monkeypatch.setattr(os, 'fsencode', lambda text: text.encode('latin-1'))
  assert files.as_path('run') == pathlib.Path('run')
  for name in ('läufe', 'läufe\u4e00'):
    with pytest.raises(ValueError, match='set PYTHONUTF8=1'):
      files.as_path(name)


def test_a_trial_leaves_nothing(tmp_path):
  old = tmp_path / 'old.jsonl'
  old.write_text('mine\n')
  for path in (old, tmp_path / 'new' / 'deep' / 'x.png'):
    assert files.try_file(path) == path
  files.try_folder(tmp_path / 'other' / 'deep')
  files.try_folder(tmp_path)
  assert left(tmp_path) == ['old.jsonl'] and old.read_text() == 'mine\n'
  # A link to a file that is not there yet can be written through.
  (tmp_path / 'link.png').symlink_to('later.png')
  files.try_file(tmp_path / 'link.png')
  assert left(tmp_path) == ['link.png', 'old.jsonl']


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('file/x', '/file is a file, not a folder'),
    ('file/deep/x', '/file is a file, not a folder'),
    ('dangling/x', '/dangling is a link to nowhere, which is not there; make'),
    ('dangling/deep/x', '/dangling is a link to nowhere'),
    ('loop/x', '/loop is a link to loop'),
    ('folder', '/folder is a folder; give a file in it'),
    ('/dev/full', '/dev/full is no ordinary file'),
    ('/proc/none/x', 'cannot write into /proc/none: No such file'),
    ('x' * 300 + '/x', 'name too long; give a shorter name'),
  ],
)
def test_where_nothing_can_be_written(tmp_path, name, message):
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'dangling').symlink_to('nowhere')
  (tmp_path / 'loop').symlink_to('loop')
  before = left(tmp_path)
  with pytest.raises(ValueError, match='(?i)' + message) as error:
    files.try_file(tmp_path / name)
  assert '\n' not in str(error.value) and left(tmp_path) == before


def refuse(number: int):
  def fsync(descriptor: int) -> None:
    raise OSError(number, os.strerror(number))

  return fsync


@pytest.mark.parametrize(
  ('number', 'message'),
  [
    (errno.ENOSPC, 'new: No space left on device; free some space'),
    (errno.EROFS, 'new: Read-only file system; choose another place'),
    (errno.EACCES, 'new: Permission denied; choose another place'),
  ],
)
def test_what_the_system_refuses_names_place_and_remedy(
  monkeypatch, tmp_path, number, message
):
  monkeypatch.setattr(os, 'fsync', refuse(number))
  with pytest.raises(ValueError, match=message):
    files.try_folder(tmp_path / 'new')
  path = tmp_path / 'new' / 'a.json'
  with pytest.raises(OSError) as error:
    files.write_json(path, {})
  assert files.explain(error.value).startswith(f'{path}: ')
  assert left(tmp_path) == ['new']


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
  path, link = tmp_path / 'a.json', tmp_path / 'link.json'
  link.symlink_to('a.json')
  files.write_json(link, [1])
  assert link.is_symlink() and files.read_json(path) == [1]
  with pytest.raises(RuntimeError), files.replacing(path) as file:
    file.write(b'half')
    raise RuntimeError
  assert files.read_json(path) == [1] and left(tmp_path) == [
    'a.json', 'link.json'
  ]  # fmt: skip


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'{"a": 1', 'Expecting'),
    (b'', 'it is empty'),
    (b'\n', 'it is empty'),
    (b'{"a": "\xff"}', "can't decode byte 0xff"),
    (b'[' * 100_000, 'recursion'),
    (None, 'No such file'),
  ],
)
def test_damaged_json(tmp_path, content, message):
  path = tmp_path / 'a.json'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(ValueError, match=message) as error:
    files.read_json(path, 'write it anew')
  text = str(error.value)
  assert str(path) in text and text.endswith('; write it anew')
  assert '\n' not in text


@pytest.mark.parametrize('value', [[], {}, {'a': None}, {'a': {}}, 3, 'a'])
def test_json_of_another_form(tmp_path, value):
  path = tmp_path / 'a.json'
  with pytest.raises(ValueError, match='; write it anew') as error:
    with files.form_of(path, 'write it anew'):
      value['a']['b']
  assert str(error.value).startswith(f'{path} is not of the form')


def test_rows_are_read_and_broken_ones_are_named(tmp_path):
  path = tmp_path / 'new' / 'rows.jsonl'
  for number in range(2):
    files.append_jsonl(path, {'step': number})
  rows = [{'step': 0}, {'step': 1}]
  assert files.read_jsonl(path, ('step',)) == rows
  whole = path.read_bytes()
  # A kill cut the last row, in the middle of a letter.
  path.write_bytes(whole + b'{"name": "\xc3')
  assert files.read_jsonl(path, growing=True) == rows
  for line in (b'{"name": "\xff"}', b'\0\0', b'[]', b'{}', b'[' * 10**5):
    path.write_bytes(line + b'\n' + whole)
    with pytest.raises(ValueError, match='rows.jsonl, line 1: not a row of'):
      files.read_jsonl(path, ('step',))


class Harmful:
  """Makes a file when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def test_arrays_are_read_and_nothing_in_them_is_run(tmp_path, monkeypatch):
  path, trace = tmp_path / 'a.npz', tmp_path / 'trace'
  files.write_npz(path, {'a': np.arange(3), 'b': np.zeros(2)})
  arrays = files.read_npz(path)
  assert arrays['a'].tolist() == [0, 1, 2] and list(arrays) == ['a', 'b']
  whole = path.read_bytes()
  damaged = {
    'cut': whole[:-20], 'empty': b'', 'text': b'mine',
    'flipped': whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
  }  # fmt: skip
  for content in damaged.values():
    path.write_bytes(content)
    with pytest.raises(ValueError, match='cannot be read as NPZ.*; mend') as e:
      files.read_npz(path, 'mend')
    assert str(path) in str(e.value) and '\n' not in str(e.value)
  np.savez(path, a=np.array([Harmful(trace)], object))
  with pytest.raises(ValueError, match='cannot be read as NPZ'):
    files.read_npz(path)
  assert not trace.exists()
  # By its size before it is unpacked.
  path.write_bytes(whole)
  monkeypatch.setattr(files, '_MOST', 100)
  with pytest.raises(ValueError, match='bytes, more than 100'):
    files.read_npz(path)
