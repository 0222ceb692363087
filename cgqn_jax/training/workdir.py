"""The folder of one run: its config and the versions that ran it.

A run is named by its folder, so that the same command resumes it and another
config never mixes with it.
"""

from collections.abc import Iterator, Mapping
import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cgqn_jax.config import upgraded
from cgqn_jax.data.sources import dataset_name
from cgqn_jax.files import (
  as_path,
  is_left_behind,
  obstacle,
  read_json,
  write_json,
)
from cgqn_jax.models.build import Model, build
from cgqn_jax.training import checkpoints
from cgqn_jax.training.checkpoints import Step
from cgqn_jax.training.update import TrainState
from cgqn_jax.types import Array, Params

# Fields that change how a run is watched or where its data lies, not what it
# computes: a resumed run may bring other values.
FREE_FIELDS = (
  'checkpoint_every',
  'data.data_dir',
  'data.path',
  'data.workers',
  'keep_checkpoints',
  'log_every',
  'picture_every',
  'validate_every',
  'validation_best_of',
)
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
_ABSENT = 'absent'
_LOCK = '.lock'
_BEAT = 10.0  # seconds between two signs of life in a lock
WEIGHTS = pathlib.Path(__file__).parents[1] / 'weights'  # shipped, by name


def default_stem(config: ConfigDict) -> str:
  """Where a run goes that is given no folder, without its seed."""
  own = config.data.source == 'folder'
  dataset = dataset_name(config) if own else config.dataset
  return f'runs/{dataset}-{config.model.name}-{config.preset}'


def open_workdir(
  path: str | pathlib.Path, config: ConfigDict, *, write: bool = True
) -> pathlib.Path:
  """Makes the folder of a run, or checks that it is this config's run.

  Writes config.json and versions.json. Another config found there raises a
  ValueError that lists the differing fields; FREE_FIELDS may differ, and the
  new values are written; num_steps may be greater. `write` is False on all
  processes but the first.
  """
  path = check_workdir(path, config)
  if write:
    file = path / 'config.json'
    before = _read_config(path)['num_steps'] if file.exists() else None
    if before and before < config.num_steps:
      print(
        f'{path}: num_steps is raised from {before:,} to '
        f'{config.num_steps:,}; the rest of the run follows the schedules of '
        'the new length'
      )
    with writable(path):
      path.mkdir(parents=True, exist_ok=True)
      write_json(file, _fields(config))
      _add_versions(path / 'versions.json')
  return path


def check_workdir(path: str | pathlib.Path, config: ConfigDict) -> pathlib.Path:
  """Returns the path; ValueError where `open_workdir` would refuse it.

  Nothing is written, and it takes no time: it is asked before a dataset is
  built.
  """
  path = as_path(path)
  checkpoints.check_name(path)
  if path.exists() and not path.is_dir():
    raise ValueError(f'{path} is a file; choose another --workdir')
  if (path / 'config.json').exists():
    _check_same(path, _read_config(path), _fields(config))
  elif path.exists() and not all(_is_harmless(p) for p in path.iterdir()):
    raise ValueError(
      f'{path} is not a cgqn_jax workdir: it holds files but no config.json; '
      'choose another --workdir'
    )
  if reason := obstacle(path):
    raise ValueError(f'{path} cannot be made: {reason}')
  with writable(path):
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not os.access(nearest, os.W_OK):
      raise OSError(errno.EACCES, 'no permission to write', str(nearest))
  return path


def _is_harmless(path: pathlib.Path) -> bool:
  """Tells whether a system left it, or a shell or scheduler logs into it.

  Such files may lie in the folder of a run that is new.
  """
  return is_left_behind(path) or (
    path.is_file() and path.suffix in ('.log', '.out', '.err')
  )


@contextlib.contextmanager
def writable(path: pathlib.Path) -> Iterator[None]:
  """Turns an OSError of writing into a ValueError that names the folder."""
  try:
    yield
  except OSError as error:
    raise ValueError(
      f'{path} cannot be written: {error.strerror or error} '
      f'({error.filename or path}); free or unlock it, or choose another '
      '--workdir'
    ) from error


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
  """Makes this process the owner of a folder; ValueError if there is another.

  The kernel drops the lock of a process that ends, however it ends. Where the
  owner was on another host, or the file system knows no locks, the owner is
  known by its signs of life: it touches the file every few seconds, and is
  dead where the file stays as it is. No clock is read, so none has to agree.
  """
  with writable(path):
    path.mkdir(parents=True, exist_ok=True)
    # Not by `open`: a lock may be there that we may not empty.
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
  done = threading.Event()
  with contextlib.closing(os.fdopen(descriptor, 'r+')) as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      certain = True
    except BlockingIOError:
      raise ValueError(_in_use(path, _owner(file))) from None
    except OSError:  # a file system without locks
      certain = False
    owner, here = _owner(file), socket.gethostname()
    if owner and not (certain and owner['host'] == here):
      print(
        f'{path}: waiting {2.5 * _BEAT:.0f} s to see whether {_named(owner)} '
        'still runs',
        file=sys.stderr,
      )
      before = os.stat(path / _LOCK).st_mtime_ns
      time.sleep(2.5 * _BEAT)
      if os.stat(path / _LOCK).st_mtime_ns != before:
        raise ValueError(_in_use(path, owner))
    with writable(path):
      _write_lock(file, json.dumps({'host': here, 'pid': os.getpid()}))

    def live() -> None:
      while not done.wait(_BEAT):
        with contextlib.suppress(OSError):
          os.utime(path / _LOCK)

    threading.Thread(target=live, daemon=True).start()
    try:
      yield
    finally:
      done.set()
      with contextlib.suppress(OSError):
        _write_lock(file, '')


def _write_lock(file: Any, text: str) -> None:
  file.seek(0)
  file.truncate()
  file.write(text)
  file.flush()


def _owner(file: Any) -> dict[str, Any]:
  """What the owner wrote of itself in a lock; {} if it has ended in order."""
  file.seek(0)
  try:
    owner = json.loads(file.read())
    return {'host': str(owner['host']), 'pid': int(owner['pid'])}
  except (OSError, ValueError, KeyError, TypeError):
    return {}


def _named(owner: Mapping[str, Any]) -> str:
  if not owner:
    return 'another program'
  return f'process {owner["pid"]} on {owner["host"]}'


def _in_use(path: pathlib.Path, owner: Mapping[str, Any]) -> str:
  return (
    f'{path} is in use by {_named(owner)}; wait for it, stop it, or choose '
    'another folder'
  )


def _fields(config: ConfigDict) -> dict[str, Any]:
  """The fields of a config as JSON would give them back."""
  return json.loads(json.dumps(config.to_dict(), sort_keys=True))


def read_workdir(workdir: str | pathlib.Path) -> ConfigDict:
  """Returns the config of a training; sequences come as tuples."""
  return ConfigDict(_tuples(_read_config(find(workdir))))


def load(
  workdir: str | pathlib.Path, step: Step = 'best'
) -> tuple[Model, Params, ConfigDict]:
  """The model, its parameters and its config from a training's folder.

  Args:
    workdir: of `experiments/train.py`, or the name of shipped weights, as
      'color_reaction'.
    step: of the checkpoint: a number, 'latest', or 'best' by validation loss
      (the latest where none was validated).

  Returns:
    (model, params, config); the averaged parameters where the run kept them.

  Raises:
    ValueError: when the folder is no workdir or holds no such checkpoint.
  """
  config = read_workdir(workdir)
  model = build(config)
  return model, restore(model, workdir, step), config


def find(workdir: str | pathlib.Path) -> pathlib.Path:
  """The folder of a training, or of the shipped weights of that name.

  Raises:
    ValueError: where there is neither.
  """
  path = as_path(workdir)
  if not path.exists():
    names = sorted(p.name for p in WEIGHTS.iterdir() if p.is_dir())
    if str(path) not in names:
      raise ValueError(
        f'workdir {workdir} does not exist, and the shipped weights are '
        f'{", ".join(names)}'
      )
    path = WEIGHTS / path
  if not (path / 'config.json').exists():
    raise ValueError(f'{path} is not a cgqn_jax workdir: it has no config.json')
  return path


def restore(
  model: Model, workdir: str | pathlib.Path, step: Step = 'best'
) -> Params:
  """The parameters alone, as `load` does: for several steps of one model."""
  template = jax.eval_shape(model.init, jax.random.key(0))
  folder = find(workdir) / 'checkpoints'
  return checkpoints.restore_params(folder, template, step)


def begin_from(workdir: str | pathlib.Path, state: TrainState) -> TrainState:
  """Gives a fresh state the parameters of another training, by their names.

  Those that it lacks, or that have another shape there, stay fresh; both are
  said in a line. The averaged ones are taken where that run kept them.

  Raises:
    ValueError: when the folder holds no checkpoint, or none of the parameters.
  """
  folder = find(workdir) / 'checkpoints'
  step = checkpoints.resolve(folder, 'best')
  there = checkpoints.by_name(checkpoints.read_params(folder, step))
  fresh = []

  def taken(path: Any, own: Array) -> Array:
    name = checkpoints.leaf_name(path)
    if name in there and there[name].shape == own.shape:
      return jnp.asarray(there[name], own.dtype)
    fresh.append(name)
    return own

  params = jax.tree_util.tree_map_with_path(taken, state.params)
  count = len(jax.tree.leaves(params))
  if len(fresh) == count:
    raise ValueError(
      f'init_from is {workdir}, and none of its parameters fits this model; '
      'name a training of the same model, networks and sizes'
    )
  new = f'; new are {", ".join(fresh)}' if fresh else ''
  print(
    f'parameters of {workdir}, update {step:,}: {count - len(fresh)} of '
    f'{count} taken{new}'
  )
  averaged = state.ema_params and jax.tree.map(jnp.copy, params)
  return state._replace(params=params, ema_params=averaged)


def checkpoint_step(workdir: str | pathlib.Path, step: Step = 'best') -> int:
  """The number of the checkpoint that `load` takes."""
  return checkpoints.resolve(find(workdir) / 'checkpoints', step)


def versions() -> dict[str, Any]:
  """Returns what a number may depend on beside the config."""
  return {
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
    'commit': _commit(),
    'device': jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'processes': jax.process_count(),
    'command': shlex.join(sys.argv),
  }


def _add_versions(path: pathlib.Path) -> None:
  """Appends an entry for this start, unless the last start had the same."""
  entries = read_json(path) if path.exists() else []
  entry = versions()
  if not entries or entries[-1] != entry:
    write_json(path, [*entries, entry])


def _commit() -> str | None:
  """Returns the commit of a checkout, None for an installed package."""
  root = pathlib.Path(__file__).parents[2]
  if not (root / '.git').exists():
    return None
  command = ['git', '-C', str(root), 'describe', '--always', '--abbrev=40']
  command += ['--exclude=*', '--dirty= with changes']  # no tags
  try:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()


def _read_config(path: pathlib.Path) -> dict[str, Any]:
  """Returns a run's config.json, as this version would write it."""
  file = path / 'config.json'
  fields = read_json(file)
  try:
    return upgraded(fields)
  except ValueError as error:
    raise ValueError(f'{file}: {error}') from error


def _tuples(value: Any) -> Any:
  """Turns JSON's lists into tuples, which Flax modules can hash."""
  if isinstance(value, dict):
    return {k: _tuples(v) for k, v in value.items()}
  if isinstance(value, list):
    return tuple(_tuples(v) for v in value)
  return value


def _check_same(
  path: pathlib.Path, there: Mapping[str, Any], here: Mapping[str, Any]
) -> None:
  """Raises a ValueError that lists the fields in which two configs differ."""
  old, new = (traverse_util.flatten_dict(x, sep='.') for x in (there, here))
  differ = [
    f'{name} is {old.get(name, _ABSENT)!r} there and '
    f'{new.get(name, _ABSENT)!r} here'
    for name in sorted(old | new)
    if name not in FREE_FIELDS
    and old.get(name, _ABSENT) != new.get(name, _ABSENT)
    and not (name == 'num_steps' and new[name] > old[name])
  ]
  if differ:
    raise ValueError(
      f'{path} holds a run of another config: {"; ".join(differ)}; choose '
      'another --workdir, or the values of that run to resume it'
    )
