"""How every program starts, and how it ends when something is wrong.

A user's mistake is one line on stderr and exit code 1, not a traceback; a
training that diverged is one line and an exit code of its own.
"""

from collections.abc import Callable, Sequence
import os
import re
import runpy
import subprocess
import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from cgqn_jax import fields

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
  known = _check_config(argv) if 'config' in values else {}
  try:
    return values(argv)
  except flags.UnrecognizedFlagError as error:
    names = dict.fromkeys([*values, *(f'config.{name}' for name in known)])
    near = fields.nearest(error.flagname, names)
    raise ValueError(f'there is no flag --{error.flagname}{near}') from error
  except flags.Error as error:
    given = re.match(r'flag --config\.([\w.]+)=(.*?): ', str(error), re.S)
    if given and (allowed := fields.allowed(given[1])):
      text = fields.shown(given[2])
      line = f'{given[1]} is {text}; it must be {allowed}'
    else:
      line = ' '.join(str(error).split())
    raise ValueError(line) from error


def _check_config(argv: Sequence[str]) -> dict[str, Any]:
  """The fields of the config that --config names; {} where it is not given.

  Raises:
    ValueError: where the file makes no config, or --config.<field> names a
      field that it has not: what ml_collections would say of it is no help.
  """
  path, names = None, []
  for argument, following in zip(argv[1:], [*argv[2:], ''], strict=True):
    flag, given, text = argument.partition('=')
    if re.fullmatch('--?config', flag):
      path = text if given else following
    elif match := re.fullmatch(r'--?(?:no)?config\.(.*)', flag, re.S):
      names.append((match[1], text))
  if path is None:
    return {}
  known = fields.flatten(load_config(path).to_dict())
  for name, text in names:
    if f'{name}.interpolation' in known:
      value = text if re.fullmatch(r'[\d.]+(e-?\d+)?', text) else '1e-3'
      raise ValueError(
        f'{name} is {fields.shown(text)}, and must be a schedule; for one '
        f'value all along give --config.{name}.boundaries=0 '
        f'--config.{name}.values={value}'
      )
    if name not in known:
      raise ValueError(fields.unknown(name, text, known))
  return known


def load_config(path: str) -> ConfigDict:
  """What a config file's get_config makes; ValueError where it makes none."""
  file, colon, arguments = path.partition(':')
  try:
    module = runpy.run_path(file)
    if 'get_config' not in module:
      raise ValueError(f'--config={file} has no function get_config')
    config = module['get_config'](*([arguments] if colon else []))
  except FileNotFoundError as error:
    raise ValueError(
      f'--config={file}: there is no such file in {os.getcwd()}'
    ) from error
  except ValueError:
    raise
  except Exception as error:
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise ValueError(f'--config={file} makes no config: {reason}') from error
  if not isinstance(config, ConfigDict):
    raise ValueError(
      f'--config={file}: get_config gives a {type(config).__name__}; it must '
      'be an ml_collections.ConfigDict'
    )
  return config
