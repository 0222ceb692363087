r"""Builds the datasets of this folder: parallel, resumable, TensorFlow-free.

  python datasets/build.py narratives --config=traveling_salesman --workers=2
  python datasets/build.py preview narratives --config=dag_chase --out=dag.png

The first writes <data_dir>/narratives/traveling_salesman/1.0.0 exactly as TFDS
itself would. If it is killed, the same command continues where it was; the
directory appears under its name only when everything in it is whole. Read it
with `tfds.builder_from_directory(path).as_data_source('train')`.

The second draws some examples as one picture; nothing need be built for it.

A dataset is a folder datasets/<name> with <name>_dataset_builder.py in it. Its
class `Builder` is a `shards.ShardedBuilder` with BUILDER_CONFIGS, each a
`shards.Config`; the estimate before a build comes from what they cost.
"""

from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import process
import contextlib
import fcntl
import multiprocessing
from multiprocessing import connection
import os
import pathlib
import shutil
import signal
import sys
import threading

from absl import app, flags, logging
import shards as shards_lib
from shards import BuildError, Shard, ShardedBuilder
import tensorflow_datasets as tfds
import tqdm

_CONFIG = flags.DEFINE_string(
  'config', None, 'Config of the dataset; by default its first.'
)
_DATA_DIR = flags.DEFINE_string(
  'data_dir',
  None,
  'Where datasets are kept; by default $TFDS_DATA_DIR or '
  '~/tensorflow_datasets.',
)
_WORKERS = flags.DEFINE_integer(
  'workers', os.cpu_count(), 'Processes that make examples.', lower_bound=1
)
_OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Throw away what is there, finished or not, first.'
)
_OUT = flags.DEFINE_string(
  'out', None, 'Picture that preview draws; <dataset>_<config>.png.'
)

_START_SECONDS = 8  # workers import and compile before the first example


def build(
  dataset: str,
  config: str | None,
  *,
  data_dir: str | None = None,
  workers: int = 1,
  overwrite: bool = False,
) -> pathlib.Path:
  """Builds one config of a dataset and returns its directory."""
  builder = shards_lib.load(dataset, config, data_dir)
  final = pathlib.Path(builder.data_path)
  if final.exists() and not overwrite:
    _check(builder, final, 'add --overwrite to build it anew')
    print(f'already built: {final}')
    return final
  builder.fetch()
  work = final.with_name(f'{final.name}.incomplete')
  work.mkdir(parents=True, exist_ok=True)
  with _locked(work):
    if overwrite and final.exists():
      shutil.rmtree(final)
      shards_lib.load.cache_clear()  # it remembers the dataset it found
      builder = shards_lib.load(dataset, config, data_dir)
    shards = shards_lib.expected(builder, work)
    wanted = set() if overwrite else {shard.path for shard in shards}
    for path in work.iterdir():
      if path not in wanted:  # parts that killed workers left
        path.unlink()
    todo = [shard for shard in shards if shards_lib.damage(shard)]
    _announce(builder, todo, len(shards), workers, work)
    _make(builder, shards, todo, workers, data_dir)
    _check(builder, work, 'the same command makes it again')
    shards_lib.write_info(builder, work)
    work.rename(final)
  print(f'built: {final}')
  return final


def _check(
  builder: ShardedBuilder, directory: pathlib.Path, remedy: str
) -> None:
  """Raises BuildError unless every shard in `directory` is whole."""
  shards = shards_lib.expected(builder, directory)
  for problem in filter(None, map(shards_lib.damage, shards)):
    raise BuildError(f'{directory} is not whole: {problem}; {remedy}')


def _announce(
  builder: ShardedBuilder,
  todo: list[Shard],
  num_shards: int,
  workers: int,
  directory: pathlib.Path,
) -> None:
  """Prints what is to be done; refuses if the disk is too small for it."""
  config = builder.builder_config
  count = sum(len(shard.ids) for shard in todo)
  rate = config.examples_per_second * workers
  minutes, seconds = divmod(round(_START_SECONDS + count / rate), 60)
  size = tfds.core.utils.Size(count * config.bytes_per_example)
  free = tfds.core.utils.Size(shutil.disk_usage(directory).free)
  print(
    f'{builder.name}/{config.name}: {count:,} examples to make, about {size} '
    f'({free} free) and {minutes} min {seconds} s with {workers} workers'
  )
  if len(todo) < num_shards:
    print(f'continuing: {num_shards - len(todo)} of {num_shards} shards exist')
  sys.stdout.flush()
  if size * 1.1 > free:
    raise BuildError(
      f'the disk is too small: {size} are to be written to {directory} and '
      f'only {free} are free; free some, or give another --data_dir'
    )


def _make(
  builder: ShardedBuilder,
  shards: list[Shard],
  todo: list[Shard],
  workers: int,
  data_dir: str | None,
) -> None:
  """Makes the shards of `todo` in worker processes."""
  count = sum(len(shard.ids) for shard in shards)
  missing = sum(len(shard.ids) for shard in todo)
  bar = tqdm.tqdm(total=count, initial=count - missing, unit=' examples')
  pool = futures.ProcessPoolExecutor(
    max_workers=max(1, min(workers, len(todo))),
    mp_context=multiprocessing.get_context('spawn'),
    initializer=_start_worker,
  )
  name, config = builder.name, builder.builder_config.name
  with bar:
    try:
      jobs = [
        pool.submit(shards_lib.write, name, config, data_dir, shard)
        for shard in todo
      ]
      for job in futures.as_completed(jobs):
        bar.update(job.result())
    except KeyboardInterrupt:
      for worker in multiprocessing.active_children():
        worker.kill()  # a shard in the making is made again
      raise
    except process.BrokenProcessPool:
      raise BuildError(
        'a worker was killed, perhaps for want of memory; the same command '
        'continues, with fewer --workers if need be'
      ) from None
    finally:
      pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
  """Leaves Ctrl-C and bars to the parent; lets no worker outlive it."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  tfds.disable_progress_bar()  # of a download, which the parent has made
  parent = multiprocessing.parent_process()

  def watch() -> None:
    connection.wait([parent.sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _watch_stdin() -> None:
  """Ends this process, and so its workers, when standard input is closed."""

  def watch() -> None:
    while os.read(0, 1024):
      pass
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[None]:
  """Keeps a second build of the same dataset out."""
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise BuildError(
        f'another build is at work in {directory}; wait for it or stop it'
      ) from None
    yield
  finally:
    os.close(descriptor)


def main(argv: list[str]) -> None:
  # One thread a worker, for the workers are the parallelism; and the CPU, in
  # 32 bits, so that the frames do not depend on where they were made.
  os.environ.setdefault('NPROC', '1')
  os.environ.setdefault('OMP_NUM_THREADS', '1')  # of NumPy, in the workers
  os.environ['JAX_PLATFORMS'], os.environ['JAX_ENABLE_X64'] = 'cpu', '0'
  from cgqn_jax import files  # which may import JAX, hence after these

  logging.set_verbosity(logging.WARNING)
  # Of a program that started this one, and lets no build outlive it.
  if os.environ.pop('CGQN_JAX_END_WITH_STDIN', None):
    _watch_stdin()
  words, config, data_dir = argv[1:], _CONFIG.value, _DATA_DIR.value
  try:
    if data_dir is not None:
      data_dir = str(files.as_path(data_dir))
    if len(words) == 2 and words[0] == 'preview':
      builder = shards_lib.load(words[1], config, data_dir)
      default = f'{builder.name}_{builder.builder_config.name}.png'
      path = files.try_file(files.as_path(_OUT.value or default))
      builder.fetch()
      builder.preview(path)
      print(f'drawn: {path.resolve()}')
    elif len(words) == 1:
      build(
        words[0],
        config,
        data_dir=data_dir,
        workers=_WORKERS.value,
        overwrite=_OVERWRITE.value,
      )
    else:
      raise BuildError(
        'give [preview] and one dataset, as in the two commands that --help '
        f'shows; got {words}'
      )
  except OSError as error:
    sys.exit(f'build.py: {files.explain(error)}; the same command continues')
  except ValueError as error:
    sys.exit(f'build.py: {error}')
  except KeyboardInterrupt:
    sys.exit('build.py: stopped; the same command continues')


if __name__ == '__main__':
  app.run(main)
