"""Faults of machine, files and terminal: one line, nothing lost, on it goes.

Each gives a real program the fault itself: a disk that is full or read-only, a
limit of the shell, a broken file, a worker that is killed. What must hold is
always the same. The program says in one line what is wrong, or works as if
nothing were; and by the same command, once the fault is gone, it leaves what
an undisturbed program left, to the bit. Mounts need root.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
from PIL import Image
import pytest

from cgqn_jax.training.checkpoints import saved_steps
from tests.crash.test_crash import TRAIN, assert_same_training
from tests.experiments.trained_files import rows

ROOT = pathlib.Path(__file__).parents[2]
FULL = pytest.mark.crash
MOUNTS = pytest.mark.skipif(os.geteuid() != 0, reason='only root may mount')
LAST = 40  # updates of TRAIN
BUILD = (
  'datasets/build.py',
  'narratives',
  '--config=traveling_salesman_32_tiny',
)
WORKERS = '--config.data.workers=2'


class Done(NamedTuple):
  """What a program left."""

  code: int
  out: str
  err: str


def run(command: tuple, env: dict[str, str], shell: str = 'exec "$@"') -> Done:
  """Runs a program below a line of bash, which has it as "$@"."""
  done = subprocess.run(
    ['bash', '-c', shell, 'bash', sys.executable, *map(str, command)],
    cwd=ROOT,
    env=env,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=600,
  )
  return Done(done.returncode, done.stdout, done.stderr)


def train(folder: pathlib.Path, *flags: str) -> tuple:
  return (*TRAIN, *flags, f'--workdir={folder}')


def assert_one_line(done: Done, *words: str, by: str = 'error') -> str:
  """It ended by an error of one line, which is the last and has the words."""
  assert done.code not in (0, -signal.SIGABRT), done
  assert 'Traceback' not in done.err, done.err
  errors = [x for x in done.err.splitlines() if x.startswith(f'{by}: ')]
  assert len(errors) == 1 and done.err.splitlines()[-1] == errors[0], done.err
  for word in words:
    assert word in errors[0], errors[0]
  print(errors[0][:400])
  return errors[0]


def assert_goes_on(
  folder: pathlib.Path, whole: pathlib.Path, env: dict[str, str], *flags: str
) -> None:
  """The same command ends as the undisturbed run did."""
  done = run(train(folder, *flags), env)
  assert done.code == 0 and 'Traceback' not in done.err, done
  assert_same_training(whole, folder)


@pytest.fixture(scope='module')
def whole(tmp_path_factory, env) -> pathlib.Path:
  """An undisturbed run: checkpoints 36, 39 and 40, and the best."""
  folder = tmp_path_factory.mktemp('runs') / 'whole'
  done = run(train(folder), env)
  assert done.code == 0, done
  # The latent of so short a run does nothing, and it is said so.
  assert done.err.count('warning: collapse: at update 6 ') == 1
  return folder


@pytest.fixture
def half(whole, tmp_path) -> pathlib.Path:
  """It again, without its last checkpoint: the rest is to be done anew."""
  folder = tmp_path / 'half'
  shutil.copytree(whole, folder)
  shutil.rmtree(folder / f'checkpoints/{LAST}')
  return folder


@contextlib.contextmanager
def disk(folder: pathlib.Path, size: str) -> Iterator[pathlib.Path]:
  """A small disk of its own."""
  folder.mkdir()
  subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'none', folder], check=True
  )
  try:
    yield folder
  finally:
    subprocess.run(['umount', '--lazy', folder], check=True)


def fill(folder: pathlib.Path, spare: int) -> pathlib.Path:
  """Leaves as many bytes of a disk."""
  ballast = folder / '.ballast'
  with ballast.open('wb') as file:
    file.truncate(0)
    left = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    file.write(bytes(max(0, left - spare)))
  return ballast


@pytest.mark.parametrize('spare', [30_000, 250_000, 700_000, 1_500_000])
@MOUNTS
@FULL
def test_disk_full(whole, env, tmp_path, spare):
  """Before the start, in the first save, and in later ones."""
  with disk(tmp_path / 'disk', '32m') as place:
    ballast = fill(place, spare)
    done = run(train(place / 'run'), env)
    if done.code:
      error = assert_one_line(done)
      assert 'No space left' in error or 'free some space' in error, error
      print(saved_steps(place / 'run/checkpoints'))
    ballast.unlink()
    assert_goes_on(place / 'run', whole, env)


@pytest.mark.parametrize(
  'kilobytes', [1, pytest.param(16, marks=FULL), pytest.param(60, marks=FULL)]
)
def test_largest_file(whole, env, tmp_path, kilobytes):
  """A quota of another kind, which needs no root."""
  shell = f'ulimit -f {kilobytes}; exec "$@"'
  done = run(train(tmp_path / 'run'), env, shell)
  if done.code:
    assert_one_line(done)
  assert_goes_on(tmp_path / 'run', whole, env)


@MOUNTS
@FULL
def test_disk_read_only(half, whole, env, tmp_path):
  """For a new run, one that goes on, an evaluation and a build."""
  with disk(tmp_path / 'disk', '64m') as place:
    shutil.copytree(half, place / 'run')
    remount = ['mount', '-o', 'remount,ro', place]
    subprocess.run(remount, check=True)
    evaluate = (
      'experiments/evaluate.py',
      f'--workdir={place / "run"}',
      '--num_scenes=4',
      '--num_samples=2',
    )
    for command in (train(place / 'new'), train(place / 'run'), evaluate):
      assert_one_line(run(command, env), 'writ', str(place))
    build = run((*BUILD, f'--data_dir={place}'), env)
    assert_one_line(build, 'Read-only file system', by='build.py')
    remount[2] = 'remount,rw'
    subprocess.run(remount, check=True)
    assert not (place / 'new').exists()
    assert_goes_on(place / 'run', whole, env)


@MOUNTS
@FULL
def test_home_read_only(whole, env, tmp_path):
  """Where libraries would cache what they have found out."""
  shell = 'mount -o bind,ro "$HOME" "$HOME" && exec "$@"'
  home, temporary = tmp_path / 'home', tmp_path / 'temporary'
  home.mkdir(), temporary.mkdir()
  env = env | {'HOME': str(home), 'TMPDIR': str(temporary)}
  inside = f'unshare -m bash -c {shlex.quote(shell)} bash "$@"'
  done = run(train(tmp_path / 'run'), env, inside)
  assert done.code == 0, done
  assert_same_training(whole, tmp_path / 'run')


@MOUNTS
@FULL
def test_no_shared_memory(whole, env, tmp_path):
  """As in a container: /dev/shm of 64 kB, through which workers send."""
  shell = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"'
  inside = f'unshare -m bash -c {shlex.quote(shell)} bash "$@"'
  done = run(train(tmp_path / 'run', WORKERS), env, inside)
  if done.code:
    assert_one_line(done, '/dev/shm')
  assert_goes_on(tmp_path / 'run', whole, env)


@FULL
def test_few_open_files(whole, env, tmp_path):
  done = run(train(tmp_path / 'run'), env, 'ulimit -n 16; exec "$@"')
  if done.code:
    assert_one_line(done, 'open files')
  assert_goes_on(tmp_path / 'run', whole, env)


def damage(path: pathlib.Path, how: str, every: int = 0) -> bytes:
  """Cuts a file in the middle, or flips bits there or everywhere."""
  data = bytearray(path.read_bytes())
  middle = len(data) // 2
  if how == 'cut':
    path.write_bytes(data[:middle])
  else:
    for place in range(middle, len(data), every) if every else [middle]:
      data[place] ^= 16
    path.write_bytes(data)
  return bytes(data)


@pytest.mark.parametrize('how', ['cut', 'flipped'])
@FULL
def test_damaged_checkpoint(half, whole, env, how):
  """The line says what to move away; then it goes on from the one before."""
  latest = half / f'checkpoints/{saved_steps(half / "checkpoints")[-1]}'
  largest = max(
    (p for p in latest.rglob('*') if p.is_file()),
    key=lambda p: p.stat().st_size,
  )
  damage(largest, how)
  before = saved_steps(half / 'checkpoints')[-2]
  assert_one_line(
    run(train(half), env),
    f'{latest} is damaged',
    f'move that folder away to resume from checkpoint {before}',
  )
  latest.rename(half.parent / 'away')
  assert_goes_on(half, whole, env)


@pytest.mark.parametrize('how', ['cut', 'flipped'])
@FULL
def test_damaged_shard(env, tmp_path, how):
  """It is refused at the start, or at its first record; a build mends it."""
  build = (*BUILD, f'--data_dir={tmp_path / "data"}')
  assert run(build, env).code == 0
  flags = (
    '--config.data.source=tfds',
    '--config.data.frame_size=32',
    f'--config.data.data_dir={tmp_path / "data"}',
  )
  done = run(train(tmp_path / 'whole', *flags), env)
  assert done.code == 0, done
  shard = next((tmp_path / 'data').rglob('*train*array_record*'))
  damage(shard, how, every=50)
  error = assert_one_line(
    run(train(tmp_path / 'run', *flags), env), f'train split of {shard.parent}'
  )
  assert error.endswith('--overwrite')
  assert run((*build, '--overwrite'), env).code == 0
  assert_goes_on(tmp_path / 'run', tmp_path / 'whole', env, *flags)


@pytest.fixture(scope='module')
def videos(tmp_path_factory) -> pathlib.Path:
  """Eight videos of noise, of three frames each, to train and validate on."""
  folder, rng = tmp_path_factory.mktemp('videos'), np.random.default_rng(0)
  for split in ('train', 'validation', 'test'):
    for scene in range(8):
      for frame in range(3):
        path = folder / split / f'scene_{scene}' / f'frame_{frame}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
  return folder


@pytest.mark.parametrize('how', ['cut', 'flipped'])
@pytest.mark.parametrize('split', ['train', 'validation'])
@FULL
def test_damaged_image(videos, env, tmp_path, how, split):
  """Of train it shows when it is read, of validation before update 1."""
  shutil.copytree(videos, tmp_path / 'videos')
  flags = (
    '--config.data.source=folder',
    f'--config.data.path={tmp_path / "videos"}',
    '--config.data.num_frames=3',
    '--config.data.context_window=2',
    '--config.data.min_context=1',
    '--config.data.max_context=2',
    '--config.data.test_context=(0,)',
    '--config.data.num_targets=1',
  )
  broken = tmp_path / 'videos' / split / 'scene_5' / 'frame_1.png'
  damage(broken, how)
  assert_one_line(run(train(tmp_path / 'run', *flags), env), str(broken))
  if split == 'validation':
    assert not (tmp_path / 'run').exists()
  shutil.copy(videos / broken.relative_to(tmp_path / 'videos'), broken)
  done = run(train(tmp_path / 'whole', *flags), env)
  assert done.code == 0, done
  assert_goes_on(tmp_path / 'run', tmp_path / 'whole', env, *flags)


# The wall clock as Python tells it, an hour off to either side, call by call.
_CLOCK = """
import itertools, runpy, sys, time
jumps = itertools.cycle([0, 3600, 0, -3600])
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + next(jumps)
time.time_ns = lambda: now_ns() + next(jumps) * 10**9
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@FULL
def test_clock_that_jumps(half, whole, env, tmp_path):
  """Within a run; and files of a run from the future and from 1971."""
  done = run(('-c', _CLOCK, *train(tmp_path / 'run')), env)
  assert done.code == 0, done
  assert_same_training(whole, tmp_path / 'run')
  for number, path in enumerate(sorted(half.rglob('*'))):
    when = 4e9 if number % 2 else 4e7
    os.utime(path, (when, when))
  assert_goes_on(half, whole, env)


def begin(command: tuple, env: dict[str, str], err: pathlib.Path):
  return subprocess.Popen(
    [sys.executable, *map(str, command)],
    cwd=ROOT,
    env=env,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    stderr=err.open('w'),
  )


def wait_for(condition, process: subprocess.Popen, seconds: float = 300):
  """Until it holds; the process must be alive all the while."""
  end = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None and time.monotonic() < end
    time.sleep(0.02)


def logged(folder: pathlib.Path) -> int:
  """Updates that a run has logged."""
  path = folder / 'metrics.jsonl'
  return path.read_bytes().count(b'\n') if path.exists() else 0


@FULL
def test_two_programs_in_one_folder(whole, env, tmp_path):
  """The second ends and names the first, which notices nothing."""
  folder = tmp_path / 'run'
  first = begin(train(folder), env, tmp_path / 'err')
  wait_for((folder / 'versions.json').exists, first)
  assert_one_line(
    run(train(folder), env), f'in use by process {first.pid} on', str(folder)
  )
  assert first.wait(600) == 0
  assert_same_training(whole, folder)


def children(pid: int) -> list[int]:
  """Processes that a process has started, and those that they have."""
  found = []
  for task in pathlib.Path(f'/proc/{pid}/task').iterdir():
    for child in map(int, (task / 'children').read_text().split()):
      found += [child, *children(child)]
  return found


def is_worker(pid: int) -> bool:
  """Whether a process reads scenes; one more watches over shared memory."""
  try:
    command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
  except OSError:
    return False
  return b'spawn_main' in command


@FULL
def test_lost_data_worker(whole, env, tmp_path):
  """The kernel takes one where memory is short."""
  folder = tmp_path / 'run'
  process = begin(train(folder, WORKERS), env, tmp_path / 'err')
  wait_for(lambda: logged(folder) >= 2, process)
  workers = [pid for pid in children(process.pid) if is_worker(pid)]
  assert len(workers) >= 2, workers
  os.kill(workers[-1], signal.SIGKILL)
  code, err = process.wait(120), (tmp_path / 'err').read_text()
  assert_one_line(Done(code, '', err), 'no batch for update', str(folder))
  saved = saved_steps(folder / 'checkpoints')[-1]
  assert f'update {saved} is saved; the same command goes on' in err
  assert max(row['step'] for row in rows(folder)) == saved > 1
  assert_goes_on(folder, whole, env, WORKERS)


@pytest.mark.parametrize(
  'shell',
  [
    '"$@" 2>&1 | head -1 >/dev/null; exit ${PIPESTATUS[0]}',
    'exec "$@" >/dev/full 2>/dev/full',
    'exec "$@" >&- 2>&-',
    'exec "$@" <&-',
  ],
)
@FULL
def test_terminal_that_is_gone(whole, env, tmp_path, shell):
  done = run(train(tmp_path / 'run'), env, shell)
  assert done.code == 0, done
  assert_same_training(whole, tmp_path / 'run')
