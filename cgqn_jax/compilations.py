"""Compilations that programs keep, so that the next start need not wait.

XLA takes a minute for what then runs in seconds. JAX can keep its outcome, in
files that are trusted as they are; here a file carries a digest, is whole or
not there, and is made anew where it is damaged. A folder that cannot be read or
written costs the time of compiling and nothing else.
"""

import contextlib
import hashlib
import os
import pathlib
import platform
import tempfile

import jax
import jaxlib

_MOST = 2 * 2**30  # bytes of all files; the oldest go first
_DIGEST = hashlib.sha256().digest_size
# Below it a file costs as much as compiling again.
_SECONDS = 0.2


def keep() -> None:
  """Has this process keep what it compiles, and take what others have kept.

  Below $XDG_CACHE_HOME/cgqn_jax, by default ~/.cache/cgqn_jax. Nothing is
  changed where JAX_COMPILATION_CACHE_DIR is set, also to nothing, and nothing
  is kept where JAX_ENABLE_COMPILATION_CACHE is false. Call it before JAX
  compiles.
  """
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  try:
    # JAX has no public way to give it a cache of one's own.
    from jax._src import compilation_cache, compilation_cache_interface

    interface = compilation_cache_interface.CacheInterface
    _ = compilation_cache.get_file_cache
    folder = _folder()
  except (ImportError, AttributeError, OSError, RuntimeError):
    return

  class Cache(Store, interface):
    """The store, as JAX wants it."""

  compilation_cache.get_file_cache = lambda path: (Cache(path), path)
  jax.config.update('jax_compilation_cache_dir', str(folder))
  # Of what XLA would put there itself, on a GPU, nobody takes care.
  jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    jax.config.update('jax_persistent_cache_min_compile_time_secs', _SECONDS)


def _folder() -> pathlib.Path:
  """The folder of this machine, JAX and number of cores.

  A compilation is for one processor: on another it could end the process. How
  XLA divides work, and so rounds, follows the number of threads.
  """
  base = os.environ.get('XDG_CACHE_HOME', '')
  if not os.path.isabs(base):  # as its specification says
    base = pathlib.Path.home() / '.cache'
  processor = [platform.machine(), platform.processor()]
  with contextlib.suppress(OSError):
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    names = ('model name', 'flags', 'Features', 'CPU part')
    processor += sorted({line for line in lines if line.startswith(names)})
  threads = getattr(os, 'sched_getaffinity', lambda _: [os.cpu_count()])(0)
  parts = [
    *processor,
    jax.__version__,
    jaxlib.__version__,
    len(threads),
    os.environ.get('NPROC', ''),
    os.environ.get('OMP_NUM_THREADS', ''),
  ]
  name = hashlib.sha256('\n'.join(map(str, parts)).encode()).hexdigest()[:16]
  return pathlib.Path(base) / 'cgqn_jax' / 'compilations' / name


class Store:
  """Values by key, in the files of a folder; several processes may use it.

  Nothing here raises: what cannot be read is not there, and what cannot be
  written is not kept.
  """

  def __init__(self, folder: str | os.PathLike[str]) -> None:
    self._path = pathlib.Path(folder)  # JAX asks for this name
    with contextlib.suppress(OSError):
      self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
      self._prune()

  def get(self, key: str) -> bytes | None:
    """The value, or None; a file that is damaged is removed."""
    if not self._is_used():
      return None
    path = self._file(key)
    with contextlib.suppress(OSError):
      content = path.read_bytes()
      digest, value = content[:_DIGEST], content[_DIGEST:]
      if digest == _digest(key, value):
        return value
      path.unlink()
    return None

  def put(self, key: str, value: bytes) -> None:
    """Keeps a value; a reader sees the whole file or none."""
    if not self._is_used():
      return
    temporary = None
    with contextlib.suppress(OSError):
      descriptor, temporary = tempfile.mkstemp('.tmp', dir=self._path)
      with os.fdopen(descriptor, 'wb') as file:
        file.write(_digest(key, value) + value)
      os.replace(temporary, self._file(key))
      temporary = None
    if temporary is not None:  # of a disk that is full
      with contextlib.suppress(OSError):
        os.unlink(temporary)

  def _file(self, key: str) -> pathlib.Path:
    # A name of its own: a key may be longer than names of files may.
    return self._path / hashlib.sha256(key.encode()).hexdigest()

  def _is_used(self) -> bool:
    """Not by one of many processes, nor from the folder of someone else.

    Processes that compile together wait for each other, and would wait for one
    that had found its part. What lies there is run.
    """
    if jax.process_count() > 1:
      return False
    with contextlib.suppress(OSError):
      status = self._path.stat()
      others = status.st_mode & 0o022  # may write
      return status.st_uid == os.getuid() and not others
    return False

  def _prune(self) -> None:
    """Removes the oldest files, of other versions too, above the limit."""
    files = []
    for path in self._path.parent.glob('*/*'):
      with contextlib.suppress(OSError):
        status = path.stat()
        files.append((status.st_mtime, status.st_size, path))
    size = sum(size for _, size, _ in files)
    for _, bytes_, path in sorted(files):
      if size <= _MOST:
        break
      with contextlib.suppress(OSError):
        path.unlink()
        size -= bytes_


def _digest(key: str, value: bytes) -> bytes:
  return hashlib.sha256(key.encode() + value).digest()
