"""How every program starts, and how it ends when something is wrong.

A user's mistake is one line on stderr and exit code 1, not a traceback; so is
what the system refuses. A training that diverged is one line and an exit code
of its own. The flags that several programs have are defined here, and every
path among them is read alike.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import io
import operator
import os
import pathlib
import re
import runpy
import signal
import subprocess
import sys
from types import FrameType
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from cgqn_jax import compilations, fields, files, shipped

DIVERGED = 3  # exit code of a training whose loss was not finite any more
_OVERRIDE = re.compile(r'--?(?:no)?config\.(.*)', re.S)


class Stopped(Exception):
  """Work was interrupted, and saved; the message says where."""


class _PathParser(flags.ArgumentParser):
  """Reads a path, as `files.as_path` does."""

  def parse(self, argument: str | pathlib.Path) -> pathlib.Path:
    # A default is a pathlib.Path already, and no user's mistake.
    return files.as_path(argument) if isinstance(argument, str) else argument

  def flag_type(self) -> str:
    return 'path'


def path_flag(name: str, default: str | None, text: str) -> flags.FlagHolder:
  """Defines a flag whose value is a pathlib.Path."""
  start = None if default is None else pathlib.Path(default)
  return flags.DEFINE(_PathParser(), name, start, text)


def weights_flag() -> flags.FlagHolder:
  """Defines --workdir of a program that reads trained weights."""
  return path_flag(
    'workdir', None, 'Folder of a training, or of shipped weights.'
  )


def context_flag(more: str = '') -> flags.FlagHolder:
  """Defines --context; `more` follows what is its default."""
  return flags.DEFINE_string(
    'context',
    None,
    "Frames that the model sees, as 0,5 or 0:6 or '' for none; by default "
    f'those of the tables{more}.',
  )


def scenes_flag(default: str) -> flags.FlagHolder:
  """Defines --scenes, of which samples are drawn."""
  return flags.DEFINE_string(
    'scenes', default, 'Scenes of the split, as 0 or 3,7 or 0:4.'
  )


def split_flag() -> flags.FlagHolder:
  """Defines --split, of which the scenes are."""
  return flags.DEFINE_enum(
    'split', 'test', ['train', 'validation', 'test'], 'Where scenes come from.'
  )


def step_flag() -> flags.FlagHolder:
  """Defines --step, the checkpoint that a program reads."""
  return flags.DEFINE_string(
    'step', 'best', "Checkpoint: a number, 'latest' or 'best'."
  )


def seed_flag(text: str) -> flags.FlagHolder:
  """Defines --seed, of all noise of a program."""
  return flags.DEFINE_integer(
    'seed', 0, text, lower_bound=0, upper_bound=2**31 - 1
  )


def source_flag(
  sources: Sequence[str] = ('tfds', 'simulator', 'folder', 'gqn'),
) -> flags.FlagHolder:
  """Defines --source, where scenes are read from."""
  return flags.DEFINE_enum(
    'source',
    None,
    sources,
    'Read scenes from here instead of where training read them.',
  )


def data_path_flag() -> flags.FlagHolder:
  """Defines --data_path, for scenes that lie elsewhere than in training."""
  return path_flag(
    'data_path',
    None,
    'Where the files of the scenes lie now: data.data_dir of tfds, data.path '
    'of folder and gqn.',
  )


def start(
  program: Callable[[], None],
  required: Sequence[str] = (),
  *,
  resumes: bool = False,
  bare: str | None = None,
) -> None:
  """Reads the command line, and runs.

  Args:
    program: what to run, to its end.
    required: flags that must be given.
    resumes: if the same command goes on where the program was interrupted;
      others begin anew. It is said to whoever interrupts it.
    bare: a path's flag that must be given, with its name or without.
  """
  _open_standard_files()
  flags.mark_flags_as_required(required)
  app.run(
    lambda argv: _run(program, argv, resumes),
    flags_parser=lambda argv: _parse(argv, bare),
  )


def _open_standard_files() -> None:
  """Has nothing read and written where a shell closed what is standard.

  Else a file of ours would take the number, and get what is printed.
  """
  for number in (0, 1, 2):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
  sys.stdout = sys.stdout or open(1, 'w', closefd=False)
  sys.stderr = sys.stderr or open(2, 'w', closefd=False)


def parse_frames(text: str, flag: str, count: int) -> list[int]:
  """'0,5' or '0:21' or '0:21:5' or a mixture -> indices below `count`."""
  frames = []
  for part in filter(None, text.split(',')):
    try:
      numbers = [int(number) for number in part.split(':')]
    except ValueError:
      raise ValueError(
        f'--{flag}={text}: {part!r} is no frame; give 3 or 0:21 or 0:21:5'
      ) from None
    if len(numbers) > 3 or numbers[2:] == [0]:
      raise ValueError(
        f'--{flag}={text}: {part!r} is no range; give 0:21 or 0:21:5'
      )
    frames += numbers if len(numbers) == 1 else range(*numbers)
  for frame in frames:
    if not 0 <= frame < count:
      raise ValueError(
        f'--{flag}={text}: there is no {frame}; it must be 0 to {count - 1}'
      )
  return frames


def _run(
  program: Callable[[], None], argv: Sequence[str], resumes: bool = False
) -> None:
  if len(argv) > 1:
    sys.exit(f'error: unknown arguments: {" ".join(argv[1:])}')
  logging.set_verbosity(logging.WARNING)  # TFDS and JAX report at length
  compilations.keep()
  again = f'the same command {"resumes" if resumes else "begins anew"}'
  for stream in filter(None, (sys.stdout, sys.stderr)):
    # A letter that the locale lacks does not cost a table its reader.
    stream.reconfigure(errors='backslashreplace')
  try:
    with _interruptible():
      program()
      if sys.stdout is not None:
        sys.stdout.flush()
  except OSError as error:
    _refused(error)
  except (ValueError, MemoryError) as error:
    sys.exit(f'error: {str(error) or "out of memory"}')
  except FloatingPointError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(DIVERGED)
  except subprocess.CalledProcessError as error:
    if error.returncode < 0:
      name = signal.Signals(-error.returncode).name
      sys.exit(f'error: {name} ended {" ".join(error.cmd[:3])}; {again}')
    sys.exit(error.returncode)  # it has said why
  except Stopped as stopped:
    sys.exit(f'stopped: {stopped}; the same command resumes')
  except KeyboardInterrupt as interrupt:
    name = str(interrupt)
    print(f'\nstopped by {name or "Ctrl-C"}; {again}', file=sys.stderr)
    sys.exit(128 + (signal.Signals[name] if name else signal.SIGINT))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
  """Has other signals that end a program end it as Ctrl-C does.

  Those that are ignored, as nohup does, stay so.
  """
  owner = os.getpid()

  def stop(number: int, frame: FrameType | None) -> None:
    del frame
    if os.getpid() != owner:  # a forked child ends as it would without us
      signal.signal(number, signal.SIG_DFL)
      os.kill(os.getpid(), number)
    raise KeyboardInterrupt(signal.Signals(number).name)

  numbers = [
    number
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    if signal.getsignal(number) == signal.SIG_DFL
  ]
  for number in numbers:
    signal.signal(number, stop)
  try:
    yield
  finally:
    for number in numbers:
      signal.signal(number, signal.SIG_DFL)


def _refused(error: OSError) -> NoReturn:
  """Ends the program for what the system refused."""
  own = _refused_output() if error.filename is None else None
  if own is None:
    sys.exit(f'error: {files.explain(error)}')
  # So that Python does not try once more when it ends.
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  if isinstance(own, BrokenPipeError):  # `| head`: it has seen enough
    sys.exit(128 + signal.SIGPIPE)
  sys.exit(f'error: the output cannot be written: {files.explain(own)}')


def _refused_output() -> OSError | None:
  """The error with which standard output refuses one more line, if it does."""
  try:
    os.write(sys.stdout.fileno(), b'\n')
  except (AttributeError, io.UnsupportedOperation):  # there is none
    return None
  except OSError as error:
    return error
  return None


def read_config(arguments: Sequence[str]) -> ConfigDict:
  """The config of a program started with --config=... and --config.x=...

  Raises:
    ValueError: in one line, where the program would say the same and end.
  """
  argv, values = ['', *arguments], flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config', None, 'Config.', flag_values=values, sys_argv=argv
  )
  _read(values, argv)
  return values.config


def _parse(argv: Sequence[str], bare: str | None) -> Sequence[str]:
  try:
    if bare is None:
      return _read(flags.FLAGS, argv)
    flags.FLAGS.set_gnu_getopt()  # it may stand before flags
    program, *rest = _read(flags.FLAGS, argv)
    if rest:
      flags.FLAGS[bare].value = files.as_path(rest.pop(0))
    if flags.FLAGS[bare].value is None:
      raise ValueError(f'give a path: {flags.FLAGS[bare].help}')
    return [program, *rest]
  except ValueError as error:
    sys.exit(f'error: {error}')
  except OSError as error:
    sys.exit(f'error: {files.explain(error)}')


def _read(values: flags.FlagValues, argv: Sequence[str]) -> Sequence[str]:
  """Reads flags; ValueError, one line, for all that can be wrong with them."""
  argv, known, constant = list(argv), {}, {}
  if 'config' in values and (given := _find_config(argv)) is not None:
    # Beforehand, for what ml_collections says of these is no help.
    known = fields.flatten(load_config(given).to_dict())
    argv, constant = _constant_schedules(known, argv)
    _check_overrides(known, argv)
  try:
    rest = values(argv)
    for name, value in constant.items():
      schedule = operator.attrgetter(name)(values['config'].value)
      schedule.update(
        boundaries=(0.0,), values=(value,), interpolation='constant'
      )
    return rest
  except flags.UnrecognizedFlagError as error:
    names = dict.fromkeys([*values, *(f'config.{name}' for name in known)])
    near = fields.nearest(error.flagname, names)
    raise ValueError(f'there is no flag --{error.flagname}{near}') from error
  except Exception as error:  # ml_collections has more than flags.Error
    given = re.match(r'flag --config\.([\w.]+)=(.*?): ', str(error), re.S)
    if given and (allowed := fields.allowed(given[1])):
      text = fields.shown(given[2])
      line = f'{given[1]} is {text}; it must be {allowed}'
    else:
      line = ' '.join(str(error).split()) or type(error).__name__
    raise ValueError(line) from error


def _find_config(argv: list[str]) -> str | None:
  """The value of --config in a command line, in which its file is named."""
  for place, argument in enumerate(argv):
    flag, equals, text = argument.partition('=')
    if flag not in ('--config', '-config'):
      continue
    if not equals:
      place += 1
      if place == len(argv):
        return None
      text = argv[place]
    try:
      files.as_path(text)
      name, *arguments = text.split(':', 1)
      path = config_file(name)
    except ValueError as error:
      raise ValueError(f'--config: {error}') from error
    text = ':'.join([str(path), *arguments])
    argv[place] = f'{flag}={text}' if equals else text
    return text
  return None


def config_file(name: str) -> pathlib.Path:
  """The file that is meant by a name: a path, or else a shipped config.

  Where there is no file configs/dice.py here, that and `dice` are the shipped
  one, wherever a program is started.

  Raises:
    ValueError: in one line, where there is neither.
  """
  path = files.as_path(name)
  if path.is_file():
    return path
  known = sorted(shipped.find('configs').glob('*.py'))
  for file in known:
    if name in (file.stem, f'configs/{file.name}'):
      return file
  here = '' if path.is_absolute() else f' in {os.getcwd()}'
  raise ValueError(
    f"No such file or directory: '{name}'{here}; give the whole path, or a "
    f'config that comes with cgqn_jax: {", ".join(p.stem for p in known)}'
  )


def load_config(text: str) -> ConfigDict:
  """What a config file gives with its arguments, path.py:arguments.

  Raises:
    ValueError: in one line, where it gives none.
  """
  path, *arguments = text.split(':', 1)
  try:
    module = runpy.run_path(path)
    if 'get_config' not in module:
      raise ValueError(
        f'{path} is no config: it has no function get_config; '
        'configs/narratives.py shows one'
      )
    config = module['get_config'](*arguments)
  except ValueError:
    raise
  except Exception as error:
    reason = ' '.join(str(error).split()) or 'no message'
    raise ValueError(
      f'{path} is no config: {type(error).__name__}: {reason}'
    ) from error
  if not isinstance(config, ConfigDict):
    raise ValueError(
      f'{path} is no config: get_config() gives {type(config).__name__}, and '
      'must give a ConfigDict'
    )
  return config


def _constant_schedules(
  known: dict[str, Any], argv: Sequence[str]
) -> tuple[list[str], dict[str, float]]:
  """Takes --config.learning_rate=1e-3 and the like out of a command line.

  Returns:
    (what is left, the value of each such schedule).
  """
  left, found = [], {}
  for argument in argv:
    flag, equals, text = argument.partition('=')
    override = _OVERRIDE.fullmatch(flag)
    if not (override and equals and f'{override[1]}.interpolation' in known):
      left.append(argument)
      continue
    try:
      found[override[1]] = float(text)
    except ValueError:
      raise ValueError(
        f'{override[1]} is {fields.shown(text)}; it must be a number, for one '
        f'value all along, or a schedule: --config.{override[1]}.boundaries '
        'and .values'
      ) from None
  return left, found


def _check_overrides(known: dict[str, Any], argv: Sequence[str]) -> None:
  """ValueError for a --config.x that is no field."""
  for argument in argv:
    flag, _, text = argument.partition('=')
    override = _OVERRIDE.fullmatch(flag)
    if not override:
      continue
    name = re.sub(r'\[\d+\]$', '', override[1])  # of one in a tuple
    if name not in known:
      raise ValueError(fields.unknown(name, text, known))
