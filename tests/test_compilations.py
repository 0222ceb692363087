"""Compilations are kept below the user's cache, and never in the way."""

import json
import os
import pathlib
import stat
import subprocess
import sys

import pytest

from cgqn_jax import compilations
from cgqn_jax.compilations import Store

ROOT = pathlib.Path(__file__).parents[1]

# Imports once, then forks a process for each case, a start of a program: JAX
# starts its threads only when it computes.
_STARTS = """
import hashlib, json, os, sys
import jax, jax.numpy as jnp, numpy as np
from cgqn_jax import cli

def program():
  if os.environ.get('BENCHMARK'):  # as experiments/benchmark.py does
    jax.config.update('jax_enable_compilation_cache', False)
  found = []
  jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
  draw = jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x).T + jax.random.normal(
      jax.random.key(0), (50, 50)))
  value = np.asarray(draw(jnp.linspace(0.0, 9.0, 5000).reshape(50, 100)))
  print(json.dumps({
    'value': hashlib.sha256(value.tobytes()).hexdigest(),
    'hits': found.count('/jax/compilation_cache/cache_hits'),
  }), flush=True)

for changes in json.load(sys.stdin):
  if not os.fork():
    os.environ.update(changes)
    cli._run(program, ['program.py'])
    os._exit(0)
  assert os.wait()[1] == 0
"""


def starts(*cases: dict[str, str]) -> list[dict]:
  """What a program that starts in these environments finds."""
  env = os.environ | {
    'PYTHONPATH': str(ROOT),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  del env['JAX_COMPILATION_CACHE_DIR']  # of these tests
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', _STARTS],
    input=json.dumps(cases),
    env=env,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0 and done.stderr == '', done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()]


def files(cache: pathlib.Path) -> dict[pathlib.Path, bytes]:
  return {p: p.read_bytes() for p in cache.rglob('*') if p.is_file()}


def test_a_second_start_need_not_compile(tmp_path):
  """Nor do numbers change, whatever is the matter with the cache."""
  cache, file = tmp_path / 'cache', tmp_path / 'file'
  file.write_text('no folder')
  here = {'XDG_CACHE_HOME': str(cache)}
  first, second = starts(here, here)
  assert first['hits'] == 0 and second['hits'] > 0
  kept = files(cache / 'cgqn_jax' / 'compilations')
  assert kept and files(cache) == kept
  for path, content in kept.items():  # one bit, as a bad disk does
    middle = len(content) // 2
    path.write_bytes(
      content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    )
  home = {'XDG_CACHE_HOME': '', 'HOME': str(tmp_path / 'home')}
  others = starts(
    here,  # damaged
    here,  # repaired
    {'XDG_CACHE_HOME': str(file)},  # cannot be written
    {'XDG_CACHE_HOME': str(tmp_path / 'off'), 'JAX_COMPILATION_CACHE_DIR': ''},
    here | {'BENCHMARK': '1'},
    home,
  )
  hits = [start['hits'] for start in others]
  assert hits == [0, second['hits'], 0, 0, 0, 0]
  assert {x['value'] for x in (second, *others)} == {first['value']}
  assert files(cache).keys() == kept.keys()
  assert not (tmp_path / 'off').exists() and file.read_text() == 'no folder'
  assert files(tmp_path / 'home' / '.cache' / 'cgqn_jax')


def test_a_folder_of_the_user_is_left_to_jax(monkeypatch, tmp_path):
  """The tests' own is set too, and keeps what it has."""
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path))
  monkeypatch.setattr(compilations, '_folder', lambda: pytest.fail('asked'))
  compilations.keep()


def test_a_value_is_whole_or_not_there(tmp_path, monkeypatch):
  one, other = Store(tmp_path / 'a' / 'x'), Store(tmp_path / 'a' / 'x')
  key = 'jit_update-' + 'f' * 400  # longer than names of files may be
  assert one.get(key) is None
  one.put(key, b'value')
  assert other.get(key) == b'value' and other.get('jit_loss') is None
  other.put(key, b'another')  # several processes may compile the same
  assert one.get(key) == b'another'
  (path,) = files(tmp_path)
  for damage in (b'', path.read_bytes()[:-1], b'x' + path.read_bytes()[1:]):
    one.put(key, b'another')
    path.write_bytes(damage)
    assert other.get(key) is None and not path.exists()
  one.put('other', b'another')  # the file of another key is none
  files(tmp_path).popitem()[0].rename(path)
  assert one.get(key) is None

  def full(*_):
    raise OSError('No space left on device')

  monkeypatch.setattr(os, 'replace', full)
  one.put(key, b'value')
  assert files(tmp_path) == {}


def test_what_others_may_write_is_not_run(tmp_path):
  store = Store(tmp_path / 'a' / 'x')
  assert stat.S_IMODE((tmp_path / 'a' / 'x').stat().st_mode) == 0o700
  store.put('key', b'value')
  (tmp_path / 'a' / 'x').chmod(0o777)
  assert store.get('key') is None
  store.put('other', b'value')
  assert len(files(tmp_path)) == 1
  (tmp_path / 'a' / 'x').chmod(0o700)
  assert store.get('key') == b'value'


def test_the_oldest_files_go_first(tmp_path, monkeypatch):
  """Those of other versions and machines too."""
  for number, folder in enumerate('xyxyx'):
    store = Store(tmp_path / 'a' / folder)
    store.put(f'key {number}', b'v' * 1000)
    os.utime(max(files(tmp_path), key=os.path.getmtime), (number, number))
  monkeypatch.setattr(compilations, '_MOST', 2500)
  stores = [Store(tmp_path / 'a' / folder) for folder in 'xyxyx']
  found = [store.get(f'key {n}') is None for n, store in enumerate(stores)]
  assert found == [True, True, True, False, False]


def test_many_processes_do_not_use_it(tmp_path, monkeypatch):
  """One that finds its part would be waited for by those that compile."""
  store = Store(tmp_path / 'a' / 'x')
  monkeypatch.setattr(compilations.jax, 'process_count', lambda: 2)
  store.put('key', b'value')
  monkeypatch.undo()
  assert files(tmp_path) == {}
