"""How every program starts, and how it ends when something is wrong.

A user's mistake is one line on stderr and exit code 1, not a traceback; a
training that diverged is one line and an exit code of its own.
"""

from collections.abc import Callable, Sequence
import subprocess
import sys

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

DIVERGED = 3  # exit code of a training whose loss was not finite any more


class Stopped(Exception):
  """Work was interrupted, and saved; the message says where."""


def start(program: Callable[[], None], required: Sequence[str] = ()) -> None:
  """Reads the command line, in which `required` flags must be, and runs."""
  flags.mark_flags_as_required(required)
  app.run(lambda argv: _run(program, argv), flags_parser=_parse)


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


def _run(program: Callable[[], None], argv: Sequence[str]) -> None:
  if len(argv) > 1:
    sys.exit(f'error: unknown arguments: {" ".join(argv[1:])}')
  logging.set_verbosity(logging.WARNING)  # TFDS and JAX report at length
  try:
    program()
  except ValueError as error:
    sys.exit(f'error: {error}')
  except FloatingPointError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(DIVERGED)
  except subprocess.CalledProcessError as error:  # it has said why
    sys.exit(error.returncode or 1)
  except Stopped as stopped:
    sys.exit(f'stopped: {stopped}; the same command resumes')
  except KeyboardInterrupt:
    print('\nstopped by Ctrl-C', file=sys.stderr)
    sys.exit(130)


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


def _parse(argv: Sequence[str]) -> Sequence[str]:
  try:
    return _read(flags.FLAGS, argv)
  except ValueError as error:
    sys.exit(f'error: {error}')


def _read(values: flags.FlagValues, argv: Sequence[str]) -> Sequence[str]:
  try:
    rest = values(argv)
    if 'config' in values:
      # A config file that is not there shows when a field is read.
      getattr(values.config, 'to_dict', None)
  except AttributeError as error:
    name = str(error).strip('"\'')
    raise ValueError(f'the config has no field {name!r}') from error
  except (flags.Error, OSError) as error:
    # A config file's own error comes with its traceback.
    lines = [line.strip() for line in str(error).splitlines()]
    raise ValueError([line for line in lines if line][-1]) from error
  return rest
