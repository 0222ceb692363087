"""Faults of machine, files and terminal: one line, nothing lost, on it goes.

Each fault is a real one: a disk that is full or read-only, a limit of the
kernel, a broken file, a worker that is killed. What must hold is always the
same. The training works as if nothing were, or says in one line what is wrong;
and when the fault is gone it goes on by the same call, and leaves what an
undisturbed one left, to the bit. The first half trains in this process, by an
update that is compiled once; `make test-crash` has the second, whole programs
below a shell. Mounts need root.
"""

from collections.abc import Iterator
import contextlib
import itertools
import os
import pathlib
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import pytest

from cgqn_jax import files
from cgqn_jax.data.sources import open_source
from cgqn_jax.training.checkpoints import saved_steps
from cgqn_jax.training.metrics_log import Log
from tests.crash.test_crash import TRAIN
from tests.experiments.trained_files import rows
from tests.training.trainer import assert_same_run, compiled_once, train

ROOT = pathlib.Path(__file__).parents[2]
FULL = pytest.mark.crash
MOUNTS = pytest.mark.skipif(os.geteuid() != 0, reason='only root may mount')
# What libraries leave open when they fail is no fault that a user sees.
pytestmark = [
  pytest.mark.filterwarnings(f'ignore:{text}')
  for text in (
    'Exception ignored in. <(_io.FileIO|coroutine|function BaseEventLoop)',
    'coroutine .* was never awaited',
  )
]
UPDATES = 30


@pytest.fixture(scope='module')
def config(make_config) -> ConfigDict:
  flags.FLAGS.mark_as_parsed()  # as every program does; grain asks
  config = make_config(draw_steps=1)
  config.num_steps = UPDATES
  config.log_every = 1
  config.checkpoint_every = 4
  config.validate_every = config.picture_every = 15
  config.validation_scenes = 4
  config.validation_best_of = 0
  config.keep_checkpoints = 3
  config.data.num_targets = 2
  return config


@pytest.fixture(scope='module', autouse=True)
def compiled(config):
  with compiled_once(config):
    yield


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory) -> pathlib.Path:
  """An undisturbed run: checkpoints 24, 28 and 30, and the best."""
  folder = tmp_path_factory.mktemp('runs') / 'whole'
  assert train(config, folder) is None
  assert saved_steps(folder / 'checkpoints')[-3:] == [24, 28, UPDATES]
  return folder


@pytest.fixture
def half(whole, tmp_path) -> pathlib.Path:
  """It again, without its last checkpoint: the rest is to be done anew."""
  folder = tmp_path / 'half'
  shutil.copytree(whole, folder)
  shutil.rmtree(folder / f'checkpoints/{UPDATES}')
  return folder


def copied(config: ConfigDict) -> ConfigDict:
  """A config whose groups are its own, too."""
  return ConfigDict(config.to_dict())


def refusal(config: ConfigDict, folder: pathlib.Path) -> str:
  """The line with which a training ends; '' where it works all the same."""
  try:
    assert train(config, folder) is None
  except (ValueError, OSError) as error:  # of which programs make a line
    text = files.explain(error) if isinstance(error, OSError) else str(error)
    print(text[:300])
    assert text and '\n' not in text
    return text
  return ''


def assert_goes_on(
  config: ConfigDict, folder: pathlib.Path, whole: pathlib.Path
) -> None:
  assert train(config, folder) is None
  assert_same_run(whole, folder)


@contextlib.contextmanager
def disk(folder: pathlib.Path, size: str) -> Iterator[pathlib.Path]:
  """A small disk of its own."""
  folder.mkdir()
  options = ['-t', 'tmpfs', '-o', f'size={size}', 'none', str(folder)]
  subprocess.run(['mount', *options], check=True)
  try:
    yield folder
  finally:
    subprocess.run(['umount', '--lazy', folder], check=True)


def fill(folder: pathlib.Path, spare: int) -> pathlib.Path:
  """Leaves so many bytes of a disk; deleting the file gives them back."""
  ballast = folder / 'ballast'
  left = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
  ballast.write_bytes(bytes(left - spare))
  return ballast


@pytest.mark.parametrize('spare', [20_000, 60_000, 300_000])
@MOUNTS
def test_disk_full(config, whole, tmp_path, capsys, spare):
  """In the log, in the first save, and after some that are whole."""
  with disk(tmp_path / 'disk', '16m') as place:
    ballast, folder = fill(place, spare), place / 'run'
    text = refusal(config, folder)
    assert 'No space left on device' in text
    steps, said = saved_steps(folder / 'checkpoints'), capsys.readouterr().err
    assert bool(steps) == (spare > 100_000)
    left = f'update {steps[-1]}' if steps else 'nothing'
    assert f'{left} is saved; the same command goes on' in said
    ballast.unlink()
    assert_goes_on(config, folder, whole)


@contextlib.contextmanager
def limit(which: int, value: int) -> Iterator[None]:
  """A limit of the kernel, as `ulimit` sets it, for a while."""
  before = resource.getrlimit(which)
  resource.setrlimit(which, (value, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(which, before)


@pytest.mark.parametrize(
  'largest', [1_000, 12_000, pytest.param(40_000, marks=FULL)]
)
def test_largest_file(config, whole, tmp_path, largest):
  """A quota of another kind, which needs no root."""
  with limit(resource.RLIMIT_FSIZE, largest):
    text = refusal(config, tmp_path / 'run')
  assert 'File too large' in text
  assert_goes_on(config, tmp_path / 'run', whole)


def test_few_open_files(config, whole, half):
  opened = {int(p.name) for p in pathlib.Path('/proc/self/fd').iterdir()}
  free = [number for number in range(999) if number not in opened]
  with limit(resource.RLIMIT_NOFILE, free[2]):
    text = refusal(config, half)
  assert 'oo many open files' in text and 'damaged' not in text
  assert_goes_on(config, half, whole)


@MOUNTS
def test_disk_read_only(config, whole, half, tmp_path):
  """For a new run, and for one that goes on."""
  with disk(tmp_path / 'disk', '16m') as place:
    shutil.copytree(half, place / 'run')
    remount = ['mount', '-o', 'remount,ro', str(place)]
    subprocess.run(remount, check=True)
    for name in ('new', 'run'):
      assert f'{place / name} cannot be written' in refusal(
        config, place / name
      )
    subprocess.run([*remount[:2], 'remount,rw', str(place)], check=True)
    assert not (place / 'new').exists()
    assert_goes_on(config, place / 'run', whole)


def damage(path: pathlib.Path, how: str) -> None:
  """Cuts a file in the middle, or flips a bit there."""
  data = bytearray(path.read_bytes())
  middle = len(data) // 2
  data[middle] ^= 16
  path.write_bytes(data[:middle] if how == 'cut' else data)


@pytest.mark.parametrize('how', ['cut', 'flipped'])
def test_damaged_checkpoint(config, whole, half, how):
  """The line says what to move away; it goes on from the one before."""
  before, step = saved_steps(half / 'checkpoints')[-2:]
  latest = half / f'checkpoints/{step}'
  # All that hold numbers: some bytes of one may be read by nobody.
  for path in latest.rglob('d/*'):
    damage(path, how)
  text = refusal(config, half)
  assert f'{latest} is damaged' in text
  assert f'move that folder away to resume from checkpoint {before}' in text
  latest.rename(half.parent / 'away')
  assert_goes_on(config, half, whole)


@pytest.fixture(scope='module')
def of_images(config, tmp_path_factory) -> ConfigDict:
  """The config of a training on eight videos, as folders of pictures."""
  root = tmp_path_factory.mktemp('videos')
  source = open_source(config, 'train')
  for split in ('train', 'validation', 'test'):
    for scene in range(8):
      folder = root / split / f'scene_{scene}'
      folder.mkdir(parents=True)
      rng = np.random.default_rng(scene)
      shape = (config.data.num_frames, *[config.data.frame_size] * 2, 3)
      for number, frame in enumerate(rng.integers(0, 256, shape, np.uint8)):
        Image.fromarray(frame).save(folder / f'frame_{number}.png')
  assert len(source) > 8
  config = copied(config)
  config.data.source, config.data.path = 'folder', str(root)
  return config


@pytest.mark.parametrize(
  ('split', 'how'),
  [
    ('train', 'cut'),
    pytest.param('train', 'flipped', marks=FULL),
    pytest.param('validation', 'cut', marks=FULL),
    pytest.param('validation', 'flipped', marks=FULL),
  ],
)
def test_damaged_image(of_images, tmp_path, split, how):
  """Found when it is read; of validation, before anything is written."""
  config = copied(of_images)
  config.data.path = str(tmp_path / 'videos')
  shutil.copytree(of_images.data.path, config.data.path)
  image = pathlib.Path(config.data.path) / split / 'scene_3' / 'frame_1.png'
  good = image.read_bytes()
  damage(image, how)
  assert str(image) in refusal(config, tmp_path / 'run')
  if split == 'validation':
    assert not (tmp_path / 'run').exists()
  image.write_bytes(good)
  assert train(config, tmp_path / 'whole') is None
  assert_goes_on(config, tmp_path / 'run', tmp_path / 'whole')


@FULL
def test_clock_that_jumps(config, whole, half, tmp_path, monkeypatch):
  """An hour, and 54 years, from call to call; files of 1971 and 2096.

  As Python tells the time: the system's clock is left alone.
  """
  jumps = itertools.cycle([0, 3600, -3600, 17 * 10**8])
  now, now_ns = time.time, time.time_ns
  with monkeypatch.context() as patch:
    patch.setattr(time, 'time', lambda: now() + next(jumps))
    patch.setattr(time, 'time_ns', lambda: now_ns() + next(jumps) * 10**9)
    assert train(config, tmp_path / 'run') is None
  assert_same_run(whole, tmp_path / 'run')
  for number, path in enumerate(sorted(half.rglob('*'))):
    os.utime(path, ((4e7, 4e9)[number % 2],) * 2)
  assert_goes_on(config, half, whole)


def workers() -> list[int]:
  """The processes that read scenes for this one."""
  found = []
  for task in pathlib.Path('/proc/self/task').iterdir():
    for child in (task / 'children').read_text().split():
      if b'spawn_main' in pathlib.Path(f'/proc/{child}/cmdline').read_bytes():
        found.append(int(child))
  return found


@FULL
def test_lost_data_worker(config, whole, tmp_path, monkeypatch, capsys):
  """The kernel takes one where memory is short."""
  config, write = copied(config), Log.scalars
  config.data.workers = 2

  def kill(self, step, values, **split):
    write(self, step, values, **split)
    if step == 2:
      os.kill(max(workers()), signal.SIGKILL)

  with monkeypatch.context() as patch:
    patch.setattr(Log, 'scalars', kill)
    text = refusal(config, tmp_path)
  assert 'no batch for update' in text and '--config.data.workers' in text
  saved = saved_steps(tmp_path / 'checkpoints')[-1]
  assert f'update {saved} is saved; the same' in capsys.readouterr().err
  assert max(row['step'] for row in rows(tmp_path)) == saved > 1
  assert not workers()
  assert_goes_on(config, tmp_path, whole)


@pytest.mark.parametrize('gone', ['full', 'pipe'])
def test_terminal_that_is_gone(config, whole, tmp_path, gone):
  """A disk full under the output's file, or a reader that has left."""
  kept, (read, write) = [os.dup(number) for number in (1, 2)], os.pipe()
  os.close(read)
  nowhere = os.open('/dev/full', os.O_WRONLY) if gone == 'full' else write
  streams = sys.stdout, sys.stderr
  for number in (1, 2):
    os.dup2(nowhere, number)
  sys.stdout, sys.stderr = (open(n, 'w', closefd=False) for n in (1, 2))
  try:
    stopped = train(config, tmp_path)
  finally:
    sys.stdout, sys.stderr = streams
    for number, copy in zip((1, 2), kept, strict=True):
      os.dup2(copy, number)
      os.close(copy)
    os.close(write)
  assert stopped is None
  assert_same_run(whole, tmp_path)


# From here on, whole programs.


class Done(NamedTuple):
  """What a program left."""

  code: int
  out: str
  err: str


def run(
  folder: pathlib.Path,
  env: dict[str, str],
  shell: str = 'exec "$@"',
  *settings: str,
) -> Done:
  """Trains below a line of bash, which has the program as "$@"."""
  command = (*TRAIN, *settings, f'--workdir={folder}')
  done = subprocess.run(
    ['bash', '-c', shell, 'bash', sys.executable, *command],
    cwd=ROOT,
    env=env,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=900,
  )
  return Done(done.returncode, done.stdout, done.stderr)


def apart(command: str) -> str:
  """The line of bash that runs a command first, with mounts of its own."""
  line = shlex.quote(f'{command} && exec "$@"')
  return f'exec unshare -m bash -c {line} bash "$@"'


def assert_one_line(done: Done, *words: str) -> None:
  """It ended by an error of one line, which is the last and has the words."""
  *before, last = done.err.splitlines()
  print(last[:300])
  assert done.code == 1 and last.startswith('error: '), done
  assert not any(x.startswith(('error: ', 'Traceback')) for x in before), done
  assert all(word in last for word in words), last


@pytest.fixture(scope='module')
def program(tmp_path_factory, env) -> pathlib.Path:
  """What an undisturbed program left."""
  folder = tmp_path_factory.mktemp('runs') / 'program'
  done = run(folder, env)
  assert done.code == 0, done
  return folder


@MOUNTS
@FULL
def test_no_shared_memory(program, env, tmp_path):
  """As in a container: /dev/shm of 64 kB, through which workers send."""
  shell, folder = apart('mount -t tmpfs -o size=64k none /dev/shm'), tmp_path
  setting = '--config.data.workers=2'
  done = run(folder / 'run', env, shell, setting)
  if done.code:
    assert_one_line(done, '/dev/shm', '--config.data.workers')
    done = run(folder / 'run', env, 'exec "$@"', setting)
  assert done.code == 0, done
  assert_same_run(program, folder / 'run')


@MOUNTS
@FULL
def test_home_read_only(program, env, tmp_path):
  """Where libraries would keep what they have found out."""
  home = tmp_path / 'home'
  home.mkdir()
  shell = apart(
    'mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro "$HOME"'
  )
  done = run(tmp_path / 'run', env | {'HOME': str(home)}, shell)
  assert done.code == 0, done
  assert_same_run(program, tmp_path / 'run')


@FULL
def test_sixteen_open_files(program, env, tmp_path):
  done = run(tmp_path / 'run', env, 'ulimit -n 16; exec "$@"')
  if done.code:
    assert_one_line(done, 'open files')
    done = run(tmp_path / 'run', env)
  assert done.code == 0, done
  assert_same_run(program, tmp_path / 'run')


@pytest.mark.parametrize(
  'shell',
  [
    '"$@" 2>&1 | head -2 >/dev/null; exit ${PIPESTATUS[0]}',
    'exec "$@" >/dev/full 2>/dev/full',
    'exec "$@" <&- >&- 2>&-',
  ],
)
@FULL
def test_shell_that_takes_no_output(program, env, tmp_path, shell):
  assert run(tmp_path / 'run', env, shell).code == 0
  assert_same_run(program, tmp_path / 'run')


@FULL
def test_two_programs_in_one_folder(program, env, tmp_path):
  """The second ends and names the first, which notices nothing."""
  folder = tmp_path / 'run'
  first = subprocess.Popen(
    [sys.executable, *TRAIN, f'--workdir={folder}'],
    cwd=ROOT,
    env=env,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  while not (folder / 'versions.json').exists():
    assert first.poll() is None
    time.sleep(0.02)
  first.send_signal(signal.SIGSTOP)  # so that it is not the first to end
  try:
    done = run(folder, env)
  finally:
    first.send_signal(signal.SIGCONT)
  assert_one_line(done, f'in use by process {first.pid} on', str(folder))
  assert first.wait(900) == 0
  assert_same_run(program, folder)
