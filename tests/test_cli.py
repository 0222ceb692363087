"""How programs start and end: mistakes and refusals are one line."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from cgqn_jax import cli, fields

ROOT = pathlib.Path(__file__).parents[1]
NARRATIVES = f'--config={ROOT}/configs/narratives.py'


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'has no function get_config'),
    ('def get_config(): return {}', 'dict.* must .*ConfigDict'),
    ('def get_config(): pass', 'NoneType.* must .*ConfigDict'),
    ('\n\nx = 1 / 0', 'mine.py.* ZeroDivisionError: division'),
    ('def get_config(:', 'mine.py.* SyntaxError'),
    ('import no_such_module', "No module named 'no_such_module'"),
    ('def get_config(): return open("none")', 'No such file or directory'),
    ('def get_config(): raise ValueError("no")', '^no$'),
    ('def get_config(): raise TypeError("no")', 'mine.py.* TypeError: no'),
  ],
)
def test_files_that_are_no_config(tmp_path, text, message):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  with pytest.raises(ValueError, match=message) as error:
    cli.read_config([f'--config={path}'])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--config=gs://b/c.py'], '--config: gs://b/c.py is no path'),
    (['--config='], '--config: the path is empty'),
    (['--config=narratives.py'], "No such file or directory: 'narratives.py'"),
    (['--config', 'narratives.py'], 'or a config that comes with cgqn_jax: '),
    ([f'--config={ROOT}'], 'No such file'),
    ([NARRATIVES, '--config.batch-size=3'], 'the nearest is batch_size'),
    ([NARRATIVES, '--config.bach_size=3'], 'the nearest is batch_size'),
    ([NARRATIVES, '--config.model.kernl=3'], 'the nearest is model.kernel'),
    ([NARRATIVES, '--noconfig.data.tny'], 'the nearest is data.tiny'),
    ([NARRATIVES, '--config.xyzzy=3'], 'no field .*xyzzy'),
    (
      [f'{NARRATIVES}:preset=huge'],
      "^configs/narratives.py: preset is 'huge'",
    ),
  ],
)
def test_command_lines_that_are_no_config(arguments, message):
  with pytest.raises(ValueError, match=message) as error:
    cli.read_config(arguments)
  assert '\n' not in str(error.value) and '\\' not in str(error.value)


# Of ml_collections.
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
@pytest.mark.parametrize('name', ['narratives', 'configs/narratives.py'])
def test_a_shipped_config_is_found_anywhere(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'narratives').mkdir()  # data, say; no file
  config = cli.read_config([f'--config={name}:preset=smoke'])
  assert config.preset == 'smoke' and config.dataset == 'narratives'
  mine = tmp_path / name
  if mine.is_dir():
    mine.rmdir()
  mine.parent.mkdir(exist_ok=True)
  mine.write_text('def get_config(): raise ValueError("mine")')
  with pytest.raises(ValueError, match='^mine$'):  # a file comes first
    cli.read_config([f'--config={name}'])


# Of ml_collections.
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_a_config_is_found_at_home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  source = f'import runpy\nget_config = runpy.run_path("{NARRATIVES[9:]}")'
  (tmp_path / 'mine.py').write_text(f'{source}["get_config"]\n')
  for start in (['--config=~/mine.py:preset=smoke'], ['--config', '~/mine.py']):
    config = cli.read_config([*start, '--config.batch_size=3'])
    assert config.batch_size == 3


# Of ml_collections.
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_one_number_for_a_schedule():
  name = '--config.learning_rate'
  config = cli.read_config([NARRATIVES, f'{name}=1e-3', '--config.seed=4'])
  assert config.learning_rate.to_dict() == {
    'boundaries': (0.0,), 'values': (0.001,), 'interpolation': 'constant'
  }  # fmt: skip
  assert config.seed == 4
  fields.check(config)


def ended(program, capsys) -> tuple[int, str]:
  """Exit code and stderr of a program."""
  with pytest.raises(SystemExit) as stop:
    cli._run(program, ['program.py'])
  code, text = stop.value.code, capsys.readouterr().err
  return (1, f'{code}\n') if isinstance(code, str) else (code, text)


def raising(error):
  def program():
    raise error

  return program


@pytest.mark.parametrize(
  ('error', 'text'),
  [
    (
      OSError(errno.ENOSPC, 'No space left on device', '/disk/a'),
      'error: /disk/a: No space left on device; free some space\n',
    ),
    (OSError(errno.EIO, 'Input/output error'), 'error: Input/output error\n'),
    (OSError('encoder error'), 'error: encoder error\n'),
    (MemoryError(), 'error: out of memory\n'),
    (
      subprocess.CalledProcessError(-9, ['python', 'a.py']),
      'error: SIGKILL ended python a.py; the same command begins anew\n',
    ),
  ],
)
def test_what_the_system_refuses_is_one_line(error, text, capsys):
  assert ended(raising(error), capsys) == (1, text)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGUSR1'])
def test_a_signal_says_that_the_program_begins_anew(name, capsys, monkeypatch):
  number = signal.Signals[name]
  before = signal.signal(number, signal.SIG_DFL)
  try:
    code, text = ended(lambda: os.kill(os.getpid(), number), capsys)
    assert signal.getsignal(number) == signal.SIG_DFL
    # What is ignored, as by nohup, is not caught.
    signal.signal(number, signal.SIG_IGN)
    cli._run(lambda: os.kill(os.getpid(), number), ['program.py'])
  finally:
    signal.signal(number, before)
  assert code == 128 + number
  assert text == f'\nstopped by {name}; the same command begins anew\n'


_PRINTS = """
import sys
from absl import flags
from cgqn_jax import cli, fields
count = flags.DEFINE_integer('count', 1, '')
def program():
  for number in range(count.value):
    print(number, '±')
cli.start(program)
"""


def test_an_output_that_nobody_takes(tmp_path):
  """A reader that has seen enough, a full disk, and letters it lacks."""
  script = tmp_path / 'prints.py'
  script.write_text(_PRINTS)
  commands = """
    "$0" "$1" --count=100000 | head -2; echo ${PIPESTATUS[0]}
    "$0" "$1" > /dev/full; echo $?
    PYTHONIOENCODING=ascii "$0" "$1"; echo $?
    "$0" "$1" >&- 2>&- <&-; echo $?
  """
  done = subprocess.run(
    ['bash', '-c', commands, sys.executable, str(script)],
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
  )
  out = ['0 ±', '1 ±', '141', '1', '0 \\xb1', '0', '0']
  assert done.stdout.splitlines() == out
  error = 'error: the output cannot be written: No space left on device'
  assert done.stderr == f'{error}; free some space\n'
