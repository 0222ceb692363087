"""A workdir belongs to one config."""

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

from ml_collections import ConfigDict
import numpy as np
import pytest

from cgqn_jax.config import upgraded
from cgqn_jax.fields import flatten, rows
from cgqn_jax.training import workdir as workdir_lib
from cgqn_jax.training.workdir import (
  check_workdir,
  locked,
  open_workdir,
  read_workdir,
)
from configs import narratives
from tests import golden_numbers


def make_config() -> ConfigDict:
  config = narratives.get_config('preset=smoke,model=sssm')
  config.num_steps, config.log_every = 100, 10
  return config


def test_a_config_comes_back_as_it_was(tmp_path):
  config = make_config()
  path = open_workdir(tmp_path / 'runs' / 'a', config)
  assert read_workdir(path).to_dict() == config.to_dict()
  assert open_workdir(path, config) == path
  (entry,) = json.loads((path / 'versions.json').read_text())
  assert entry['devices'] == 4
  assert {'python', 'jax', 'flax', 'orbax-checkpoint', 'command'} < set(entry)
  commit = entry['commit']  # none in an archive without .git
  assert not commit or re.fullmatch('[0-9a-f]{40}( with changes)?', commit)


def test_another_config_is_refused_with_its_fields(tmp_path):
  path = open_workdir(tmp_path, make_config())
  before = (path / 'config.json').read_bytes()
  other = make_config()
  other.data.test_context = (0, 1)
  other.model.latent = 3
  other.num_steps = 50
  with other.unlocked():
    other.data.new = 'x'
  other.log_every = 1
  with pytest.raises(ValueError) as error:
    open_workdir(path, other)
  text = str(error.value)
  assert "data.new is 'absent' there and 'x' here" in text
  assert 'data.test_context is [0, 1, 2, 3, 4, 5] there and [0, 1] here' in text
  assert 'model.latent is 64 there and 3 here' in text
  assert 'num_steps is 100 there and 50 here' in text
  assert 'log_every' not in text and '--workdir' in text and '\n' not in text
  assert (path / 'config.json').read_bytes() == before


def test_free_fields_may_change(tmp_path):
  path = open_workdir(tmp_path, make_config())
  other = make_config()
  other.log_every = 1
  other.data.data_dir = other.data.path = 'elsewhere'
  open_workdir(path, other, write=False)
  assert read_workdir(path).log_every == 10
  open_workdir(path, other)
  assert read_workdir(path).log_every == 1


def test_a_run_may_be_made_longer(tmp_path, capsys):
  """Not shorter; the schedules are shares of the new length."""
  path = open_workdir(tmp_path, make_config())
  longer = make_config()
  longer.num_steps = 1_200
  open_workdir(path, longer, write=False)
  assert capsys.readouterr().out == ''
  open_workdir(path, longer)
  said = capsys.readouterr().out
  assert f'{path}: num_steps is raised from 100 to 1,200; the rest' in said
  assert said.count('\n') == 1 and read_workdir(path).num_steps == 1_200
  with pytest.raises(ValueError, match='num_steps is 1200 there and 100 here'):
    open_workdir(path, make_config())


def test_a_field_that_is_younger_than_the_run(tmp_path):
  """At what runs did without it, it is no other config."""
  path = open_workdir(tmp_path, make_config())
  there = json.loads((path / 'config.json').read_text())
  for name in ('init_from', 'ema_decay', 'max_skipped_in_a_row'):
    del there[name]
  del there['optimizer']['name'], there['data']['workers']
  (path / 'config.json').write_text(json.dumps(there))
  open_workdir(path, make_config(), write=False)
  other = make_config()
  other.ema_decay = 0.5
  with pytest.raises(ValueError, match='ema_decay is 0.0 there and 0.5 here'):
    open_workdir(path, other)


@pytest.mark.parametrize(
  'path',
  sorted((golden_numbers.FIXTURES / 'configs').glob('*.json')),
  ids=lambda path: path.stem,
)
def test_configs_of_old_runs_are_brought_up_to_date(path):
  """They are of the paper's networks, trained with Adam.

  A sequential model has no such field. Schedules mean what they meant, in
  shares of the run.
  """
  old = json.loads(path.read_text('utf-8'))
  assert 'networks' not in old['model'] and 'name' not in old['optimizer']
  before = json.dumps(old)
  if old['model'].get('view_frequencies'):
    with pytest.raises(ValueError, match='view_frequencies'):
      upgraded(old)
    return
  new = upgraded(old)
  assert json.dumps(old) == before
  assert upgraded(new) == new
  assert new['optimizer']['name'] == 'adam' and new['init_from'] == ''
  if old['model']['name'] in ('cgqn', 'gqn'):
    assert new['model']['networks'] == 'draw'
    old['model'].pop('view_frequencies', None)
  for name in ('learning_rate', 'pixel_variance', 'kl_weight', 'informed'):
    if name not in old:
      continue
    was, shares = old.pop(name), new.pop(name)
    assert was['interpolation'] == shares['interpolation']
    for share in np.linspace(0, 1, 9):
      expected = np.interp(share * 4e5, was['boundaries'], was['values'])
      actual = np.interp(share, shares['boundaries'], shares['values'])
      assert actual == pytest.approx(expected)
  was, now = flatten(old), flatten(new)
  table = rows(now)
  assert was == {name: now[name] for name in was}
  for name in now.keys() - was.keys():
    assert now[name] == table[name].absent


def test_what_a_config_says_is_kept():
  config = narratives.get_config('preset=smoke,model=gqn,networks=residual')
  config.model.codes = 3
  fields = json.loads(json.dumps(config.to_dict()))
  assert upgraded(fields) == fields


def test_foreign_and_missing_folders(tmp_path):
  with pytest.raises(ValueError, match='none does not exist, and the shipped'):
    read_workdir(tmp_path / 'none')
  (tmp_path / 'thesis.tex').write_text('mine')
  for function in (read_workdir, lambda p: open_workdir(p, make_config())):
    with pytest.raises(ValueError, match='not a cgqn_jax workdir'):
      function(tmp_path)
    with pytest.raises(ValueError):
      function(tmp_path / 'thesis.tex')
  assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']
  (tmp_path / 'config.json').write_text('{"seed": ')
  with pytest.raises(ValueError, match='config.json cannot be read as JSON'):
    read_workdir(tmp_path)


def test_what_systems_and_schedulers_put_into_a_new_folder(tmp_path):
  (tmp_path / 'lost+found').mkdir()
  for name in ('.DS_Store', 'nohup.out', 'slurm-31.out', 'train.log', 'e.err'):
    (tmp_path / name).write_text('mine')
  assert open_workdir(tmp_path, make_config()) == tmp_path
  assert (tmp_path / 'train.log').read_text() == 'mine'
  other = tmp_path / 'other'
  (other / 'runs.log').mkdir(parents=True)
  with pytest.raises(ValueError, match='not a cgqn_jax workdir'):
    open_workdir(other, make_config())


def test_what_cannot_be_a_workdir_is_refused_before_it_is_made(tmp_path):
  file = tmp_path / 'file'
  file.write_text('mine')
  cases = [
    (tmp_path / 'run[1]', 'in its name'),
    (tmp_path / 'a*' / 'run', 'in its name'),
    (file, 'is a file'),
    (file / 'run', 'file is a file'),
  ]
  for path, message in cases:
    for function in (check_workdir, open_workdir):
      with pytest.raises(ValueError, match=message) as error:
        function(path, make_config())
      assert '\n' not in str(error.value) and str(path) in str(error.value)
  assert check_workdir(tmp_path / 'new', make_config()) == tmp_path / 'new'
  assert [p.name for p in tmp_path.iterdir()] == ['file']


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device', 'config.json')

  monkeypatch.setattr(workdir_lib, 'write_json', full)
  with pytest.raises(ValueError, match='cannot be written: No space') as error:
    open_workdir(tmp_path / 'new', make_config())
  assert '\n' not in str(error.value)


def test_a_folder_has_one_owner(tmp_path):
  with locked(tmp_path / 'a'):
    with pytest.raises(ValueError) as error:
      with locked(tmp_path / 'a'):
        pass
    with locked(tmp_path / 'b'):
      pass
  text = str(error.value)
  assert f'in use by process {os.getpid()} on {socket.gethostname()};' in text
  with locked(tmp_path / 'a'):  # given back
    pass
  open_workdir(tmp_path / 'a', make_config())  # a lock is no foreign file


_OWNER = """
import pathlib, sys, time
from cgqn_jax.training.workdir import locked
with locked(pathlib.Path(sys.argv[1])):
  print('mine', flush=True)
  time.sleep(600)
"""


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
  root = str(golden_numbers.FIXTURES.parents[1])
  process = subprocess.Popen(
    [sys.executable, '-c', _OWNER, str(tmp_path)],
    env=os.environ | {'PYTHONPATH': root},
    stdout=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout.readline() == 'mine\n'
    with pytest.raises(ValueError, match=f'process {process.pid} on '):
      with locked(tmp_path):
        pass
    process.kill()
    assert process.wait() == -signal.SIGKILL
  assert str(process.pid) in (tmp_path / '.lock').read_text()
  with locked(tmp_path):
    assert str(os.getpid()) in (tmp_path / '.lock').read_text()


@pytest.mark.parametrize('flock', [True, False])
def test_an_owner_on_another_host_is_known_by_its_signs_of_life(
  tmp_path, monkeypatch, flock, capsys
):
  """Also where the file system has no locks."""

  def none(*_):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(workdir_lib, '_BEAT', 0.1)
  if not flock:
    monkeypatch.setattr(fcntl, 'flock', none)
  path = tmp_path / '.lock'
  there = json.dumps({'host': 'elsewhere', 'pid': 7})
  path.write_text(there)
  done = threading.Event()

  def live():
    while not done.wait(0.05):
      with contextlib.suppress(OSError):
        os.utime(path)

  thread = threading.Thread(target=live)
  thread.start()
  try:
    with pytest.raises(ValueError, match='in use by process 7 on elsewhere'):
      with locked(tmp_path):
        pass
  finally:
    done.set()
    thread.join()
  assert path.read_text() == there
  with locked(tmp_path):  # it stopped
    pass
  assert 'to see whether process 7 on elsewhere' in capsys.readouterr().err


def test_what_no_lock_can_be_read_from_does_not_block(tmp_path):
  for text in ('', 'hello', '[]', '{"host": "a"}', '{"host": 1, "pid": "x"}'):
    (tmp_path / '.lock').write_text(text)
    with locked(tmp_path):
      pass


def test_each_dataset_of_one_s_own_has_a_folder():
  config = narratives.get_config('preset=smoke')
  assert workdir_lib.default_stem(config) == 'runs/narratives-cgqn-smoke'
  config.data.source = 'folder'
  stems = set()
  for config.data.path in ('mine/walk', 'mine/run'):
    stems.add(workdir_lib.default_stem(config))
  assert stems == {'runs/walk-cgqn-smoke', 'runs/run-cgqn-smoke'}
