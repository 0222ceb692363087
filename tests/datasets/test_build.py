"""datasets/build.py, on a dataset small enough to build in a second.

The dataset stands beside a copy of build.py in a temporary folder, which also
shows that build.py takes any folder that keeps its protocol.
"""

from collections.abc import Callable
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import tensorflow_datasets as tfds

_DATASETS = pathlib.Path(__file__).resolve().parents[2] / 'datasets'
_SQUARES = pathlib.Path(__file__).with_name('squares_dataset_builder.py')


class Place:
  """A folder of datasets with build.py in it, and a data directory."""

  def __init__(self, root: pathlib.Path):
    self.data_dir = root / 'data'
    self.final = self.data_dir / 'squares' / 'plain' / '1.0.0'
    self.work = self.final.with_name('1.0.0.incomplete')
    self.script = root / 'datasets' / 'build.py'
    (root / 'datasets' / 'squares').mkdir(parents=True)
    for name in 'build.py', 'shards.py':
      shutil.copy(_DATASETS / name, self.script.parent)
    builder = self.script.parent / 'squares' / 'squares_dataset_builder.py'
    shutil.copy(_SQUARES, builder)
    (builder.parent / 'README.md').write_text('Squares.')
    self.log = root / 'log'

  def start(self, *args: str, sleep: float = 0.0) -> subprocess.Popen:
    self.log.write_text('')
    command = [
      sys.executable,
      self.script,
      *args,
      f'--data_dir={self.data_dir}',
    ]
    return subprocess.Popen(
      command,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
      env=os.environ
      | {'SQUARES_LOG': str(self.log), 'SQUARES_SLEEP': str(sleep)},
    )

  def run(self, *args: str) -> tuple[int, str, str]:
    running = self.start('--workers=1', *args)
    out, err = running.communicate(timeout=180)
    return running.returncode, out, err

  def made(self) -> list[str]:
    """The shards that the last run made, by split and first id."""
    return sorted(self.log.read_text().splitlines())

  def shards_done(self) -> list[str]:
    return sorted(p.name for p in self.work.glob('*-of-0000?'))


def wait_for(condition: Callable[[], Any]) -> None:
  """Returns when the condition holds, at the latest after 90 seconds."""
  deadline = time.monotonic() + 90
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.02)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
  return Place(tmp_path)


@pytest.fixture(scope='module')
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
  place = Place(tmp_path_factory.mktemp('finished'))
  code, _, err = place.run('squares')
  assert code == 0, err
  return place


@pytest.fixture
def built(finished: Place, place: Place) -> Place:
  """A place of the test's own with the dataset already built."""
  shutil.copytree(finished.data_dir, place.data_dir)
  return place


def _content(directory: pathlib.Path) -> dict[str, list[list[int]]]:
  builder = tfds.builder_from_directory(directory)
  return {
    split: [
      [*map(int, example['square']), int(example['example_id'])]
      for example in builder.as_data_source(split)
    ]
    for split in builder.info.splits
  }


def _names(data_dir: pathlib.Path) -> list[str]:
  files = (data_dir / 'squares').rglob('*')
  return sorted(str(path.relative_to(data_dir)) for path in files)


def _expected() -> dict[str, list[list[int]]]:
  return {
    'train': [[i * i, (i + 1) ** 2, (i + 2) ** 2, i] for i in range(40)],
    'test': [
      [i * i + 1, (i + 1) ** 2 + 1, (i + 2) ** 2 + 1, i] for i in range(5)
    ],
  }


def test_builds_what_tfds_itself_builds(place: Place, tmp_path: pathlib.Path):
  code, out, err = place.run('squares', '--workers=2')
  assert code == 0, err
  assert '45 examples' in out and '2 workers' in out and str(place.final) in out
  assert '45/45' in err  # the bar
  assert not place.work.exists()
  assert _content(place.final) == _expected()

  script = (
    'import sys; sys.path.insert(0, sys.argv[1])\n'
    'from squares.squares_dataset_builder import Builder\n'
    "Builder(config='plain', data_dir=sys.argv[2]).download_and_prepare()\n"
  )
  other = tmp_path / 'other'
  subprocess.run(
    [sys.executable, '-c', script, place.script.parent, other],
    check=True,
    env=os.environ | {'SQUARES_LOG': str(place.log)},
  )
  theirs = other / 'squares' / 'plain' / '1.0.0'
  assert _content(theirs) == _expected()
  names = _names(other)
  assert names == _names(place.data_dir)
  for name in names:
    if name.endswith('.json'):
      ours = json.loads((place.data_dir / name).read_text())
      assert ours == json.loads((other / name).read_text()), name


def test_a_finished_dataset_is_left_alone(built: Place):
  code, out, _ = built.run('squares', '--config=plain')
  assert (code, out) == (0, f'already built: {built.final}\n')
  assert built.made() == []


def test_a_killed_build_continues(place: Place):
  running = place.start('squares', '--workers=2', sleep=0.05)
  wait_for(lambda: len(place.shards_done()) >= 3)
  os.killpg(running.pid, signal.SIGKILL)
  running.communicate()
  done = place.shards_done()
  assert 3 <= len(done) < 10
  assert not place.final.exists()
  before = {name: (place.work / name).stat().st_mtime_ns for name in done}

  code, out, err = place.run('squares', '--workers=2')
  assert code == 0, err
  assert f'{len(done)} of 10 shards exist' in out
  assert len(place.made()) == 10 - len(done)
  assert before == {
    name: (place.final / name).stat().st_mtime_ns for name in done
  }
  assert _content(place.final) == _expected()
  assert not list(place.data_dir.rglob('*.part'))


def test_ctrl_c_stops_at_once(place: Place):
  running = place.start('squares', '--workers=1', sleep=4)
  wait_for(place.made)
  os.killpg(running.pid, signal.SIGINT)
  begin = time.monotonic()
  _, err = running.communicate(timeout=120)
  assert time.monotonic() - begin < 15  # a shard takes 20 s
  assert running.returncode == 1
  assert err.endswith('stopped; the same command continues\n')
  assert 'Traceback' not in err


def test_workers_die_with_a_killed_parent(place: Place):
  running = place.start('squares', '--workers=1', sleep=0.2)
  wait_for(place.made)
  running.kill()
  running.communicate(timeout=120)  # waits for all that hold its pipes
  with pytest.raises(ProcessLookupError):  # nobody is left in the group
    wait_for(lambda: os.killpg(running.pid, 0))


def test_damaged_shards_are_made_again(built: Place):
  built.final.rename(built.work)  # as if only the last rename were missing
  cut, gone, empty, alien = sorted(built.work.glob('*train*'))[:4]
  os.truncate(cut, cut.stat().st_size // 2)
  gone.unlink()
  empty.write_bytes(b'')
  shutil.copy(next(built.work.glob('*test*-00001-of-*')), alien)
  (built.work / 'left.part').write_bytes(b'...')
  code, _, err = built.run('squares')
  assert code == 0, err
  assert built.made() == [f'train {i}' for i in (0, 10, 15, 5)]
  assert _content(built.final) == _expected()
  assert not (built.final / 'left.part').exists()


def test_a_damaged_dataset_is_refused(built: Place):
  cut = sorted(built.final.glob('*train*'))[2]
  os.truncate(cut, cut.stat().st_size - 1)
  code, _, err = built.run('squares')
  _assert_refused(code, err, cut.name, 'cut short', '--overwrite')
  cut.unlink()
  code, _, err = built.run('squares')
  _assert_refused(code, err, cut.name, 'missing', '--overwrite')
  assert built.run('squares', '--overwrite')[0] == 0
  assert len(built.made()) == 10
  assert _content(built.final) == _expected()


def _assert_refused(code: int, err: str, *words: str) -> None:
  assert code == 1
  assert err.startswith('build.py: ') and err.count('\n') == 1
  for word in words:
    assert word in err


@pytest.mark.parametrize(
  'args, words',
  [
    (['circles'], ["'circles'", 'squares']),
    (['squares', '--config=fancy'], ["'fancy'", 'plain, huge']),
    (['preview', 'circles'], ["'circles'", 'squares']),
    (['squares', '--config=huge'], ['disk', 'free', '--data_dir']),
    ([], ['--help']),
  ],
)
def test_a_mistake_gets_one_line(
  place: Place, args: list[str], words: list[str]
):
  code, _, err = place.run(*args)
  _assert_refused(code, err, *words)


def test_a_second_build_at_once_is_refused(place: Place):
  first = place.start('squares', '--workers=1', sleep=0.02)
  wait_for(place.made)
  # However slow the machine is, the first must not end before the second asks.
  first.send_signal(signal.SIGSTOP)
  try:
    code, _, err = place.run('squares')
  finally:
    first.send_signal(signal.SIGCONT)
    first.communicate()
  assert code == 1 and 'another build' in err
  assert first.returncode == 0
  assert _content(place.final) == _expected()


def test_preview_and_help(place: Place, tmp_path: pathlib.Path):
  picture = tmp_path / 'p.png'
  code, out, _ = place.run('preview', 'squares', f'--out={picture}')
  assert code == 0 and str(picture) in out
  assert picture.read_text() == 'picture of plain'
  assert not place.data_dir.exists()
  _, out, _ = place.run('--help')
  for word in '--config', '--workers', '--data_dir', 'overwrite', 'preview':
    assert word in out


def test_home_is_expanded(place: Place, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv('HOME', str(place.data_dir.parent))
  place.data_dir = pathlib.Path('~/data')
  code, out, err = place.run('squares')
  assert code == 0, err
  assert f'built: {place.final}\n' in out
  assert _content(place.final) == _expected()
