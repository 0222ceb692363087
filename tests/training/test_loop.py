"""Whatever ends a training, its last update is saved, and it goes on."""

import contextlib
import errno
import io
import os
import pathlib
import signal
import sys

import jax
import pytest

from cgqn_jax.evaluation.validation import Validation
from cgqn_jax.training import loop, watch
from cgqn_jax.training.checkpoints import (
  Checkpoints,
  resolve,
  saved_steps,
)
from cgqn_jax.training.metrics_log import Log
from tests.experiments.trained_files import rows
from tests.training.trainer import assert_same_run, compiled_once, train

UPDATES = 6


@pytest.fixture(scope='module')
def config(make_config):
  config = make_config()
  config.num_steps = UPDATES
  config.validate_every = config.picture_every = 3
  config.checkpoint_every = 100
  config.validation_scenes = 4
  config.keep_checkpoints = 3
  config.data.num_targets = 2
  return config


@pytest.fixture(scope='module', autouse=True)
def compiled(config):
  with compiled_once(config):
    yield


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory) -> pathlib.Path:
  """An uninterrupted run, with what it has said."""
  workdir = tmp_path_factory.mktemp('runs') / 'whole'
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    assert train(config, workdir) is None
  (workdir / 'out').write_text(out.getvalue())
  (workdir / 'err').write_text(err.getvalue())
  assert saved_steps(workdir / 'checkpoints') == [UPDATES]
  return workdir


def assert_goes_on(config, workdir, whole, saved: int | None) -> None:
  """From what was saved, to the end of the uninterrupted run."""
  expected = [] if saved is None else [saved]
  assert saved_steps(workdir / 'checkpoints') == expected
  assert train(config, workdir) is None
  assert_same_run(whole, workdir)
  assert len(list((whole / 'images').iterdir())) == 2


def raising(function, error, when):
  """The function, which raises instead where `when` holds of its arguments."""

  def call(*args, **options):
    if when(*args, **options):
      raise error
    return function(*args, **options)

  return call


def test_a_run_says_what_it_does(whole):
  """That it compiles, how good it is, and where it all lies."""
  found = [row['mse'] for row in rows(whole) if row['split'] == 'validation']
  out = (whole / 'out').read_text().splitlines()
  assert out[0] == f'{whole}: from update 0'
  assert out[1].startswith(f'{whole}: 6 updates applied in ')
  best = f'; best: MSE on validation {1e3 * min(found):.3g} x 1e-3, at update '
  assert len(out) == 2 and best in out[1]
  err = (whole / 'err').read_text().splitlines()
  said = [line for line in err if 'compiling' in line]
  kinds = ['parameters', 'update', 'validation', 'picture']
  assert len(said) == 8
  for kind, before, after in zip(kinds, said[::2], said[1::2], strict=True):
    assert before == f'{kind}: compiling ...'
    assert after.startswith(f'{kind}: ')
    assert after.endswith(', compiling included')
  last = [line for line in err if line.startswith('6/6, ')][-1]
  assert f', MSE {1e3 * found[0]:.3g}, kl ' in last and 'loss' not in last


def test_data_that_ends_a_run(config, whole, tmp_path, monkeypatch, capsys):
  """Such as a worker that was killed, or a broken image."""
  make = loop.training_batches

  def broken(*args):
    for number, batch in enumerate(make(*args), 1):
      if number == 5:
        raise RuntimeError('Worker process was terminated\nlogs above')
      yield batch

  with monkeypatch.context() as patch:
    patch.setattr(loop, 'training_batches', broken)
    with pytest.raises(ValueError, match='no batch for update 5 of ') as error:
      train(config, tmp_path)
  assert 'Worker process was terminated' in str(error.value)
  assert '\n' not in str(error.value)
  assert f'{tmp_path}: update 4 is saved' in capsys.readouterr().err
  assert_goes_on(config, tmp_path, whole, 4)


def test_data_that_never_comes_saves_nothing(config, tmp_path, monkeypatch):
  def none(*_):
    raise ValueError('there is no scene')
    yield

  monkeypatch.setattr(loop, 'training_batches', none)
  with pytest.raises(ValueError, match='no scene'):
    train(config, tmp_path)
  assert saved_steps(tmp_path / 'checkpoints') == []


@pytest.mark.parametrize(
  ('kind', 'name', 'step', 'when'),
  [
    (Validation, 'loss', 3, lambda *_: True),
    (Validation, 'picture', 3, lambda *_: True),
    (Log, 'image', 3, lambda self, step, *_: step == 3),
    (Log, 'scalars', 3, lambda self, step, _, split='train': split != 'train'),
  ],
)
def test_what_follows_an_update_ends_a_run(
  config, whole, tmp_path, monkeypatch, capsys, kind, name, step, when
):
  """A row of validation and a picture that are missing are made first."""
  error = OSError(errno.ENOSPC, 'No space left on device')
  with monkeypatch.context() as patch:
    patch.setattr(kind, name, raising(getattr(kind, name), error, when))
    with pytest.raises(ValueError, match='No space left'):
      train(config, tmp_path)
  assert f'{tmp_path}: update {step} is saved' in capsys.readouterr().err
  assert_goes_on(config, tmp_path, whole, step)


def test_the_last_validation_is_made_up_for(
  config, whole, tmp_path, monkeypatch, capsys
):
  """A run killed between its last save and its validation is not finished."""
  error = MemoryError('killed')
  with monkeypatch.context() as patch:
    last = raising(Validation.loss, error, lambda *_: len(seen) == 2)
    seen = []

    def count(self, *args):
      seen.append(args)
      return last(self, *args)

    patch.setattr(Validation, 'loss', count)
    with pytest.raises(MemoryError):
      train(config, tmp_path)
  assert_goes_on(config, tmp_path, whole, UPDATES)
  assert 'is finished' not in capsys.readouterr().out
  assert train(config, tmp_path) is None
  assert 'is finished: 6 updates applied' in capsys.readouterr().out
  assert resolve(tmp_path / 'checkpoints', 'best') == UPDATES


def test_a_save_that_fails_says_what_is_there(
  config, whole, tmp_path, monkeypatch, capsys
):
  def full(*_, **__):
    raise ValueError('No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(Checkpoints, 'save', full)
    with pytest.raises(ValueError, match='No space left'):
      train(config, tmp_path)
  said = capsys.readouterr().err
  assert 'could not be saved (No space left on device); nothing is' in said
  assert_goes_on(config, tmp_path, whole, None)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_a_run(config, whole, tmp_path, monkeypatch, number):
  write = Log.scalars

  def kill(self, step, values, **split):
    write(self, step, values, **split)
    if step == 2:
      os.kill(os.getpid(), number)

  with monkeypatch.context() as patch:
    patch.setattr(Log, 'scalars', kill)
    stopped = train(config, tmp_path)
  assert f'by {signal.Signals(number).name} at update 3' in stopped
  assert_goes_on(config, tmp_path, whole, 3)


class Gone(io.StringIO):
  """A terminal that was closed, or a pipe that nobody reads."""

  def write(self, text=''):
    raise BrokenPipeError(errno.EPIPE, 'Broken pipe')

  flush = write


def test_a_line_that_cannot_be_written_stops_nothing(
  config, whole, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(sys, 'stderr', Gone())
    patch.setattr(sys, 'stdout', Gone())
    assert train(config, tmp_path) is None
  assert rows(tmp_path) == rows(whole)


def test_what_validation_needs_is_read_before_the_first_update(
  config, tmp_path, monkeypatch
):
  def broken(self):
    raise ValueError('the validation split: scene 3 is broken')

  monkeypatch.setattr(Validation, 'try_out', broken)
  with pytest.raises(ValueError, match='scene 3 is broken'):
    train(config, tmp_path / 'new')
  assert list(tmp_path.iterdir()) == []


def test_a_latent_that_is_not_used_is_named_once(
  config, whole, tmp_path, monkeypatch, capsys
):
  """So short a run uses none; where samples differ it is not said."""
  kl = [r['kl'] for r in rows(whole) if r['split'] == 'validation']
  assert len(kl) == 2 and max(kl) < 0.1
  assert train(config, tmp_path / 'one') is None
  said = capsys.readouterr().err
  assert said.count('warning: collapse: at update 3 the KL is 0.0') == 1
  assert said.count('collapse') == 1
  monkeypatch.setattr(Validation, 'spread', lambda *_: 0.1)
  assert train(config, tmp_path / 'other') is None
  assert 'collapse' not in capsys.readouterr().err


def test_a_latent_that_explodes_is_named_once(
  config, tmp_path, monkeypatch, capsys
):
  """Parameters are blown up before update 5, as too long a step does."""
  monkeypatch.setattr(watch, '_UPDATES', 3)
  monkeypatch.setattr(watch, '_NATS', 0.0)
  over_devices = loop.update_lib.over_devices

  def blown_up(update):
    update, calls = over_devices(update), []

    def call(states, batches):
      calls.append(1)
      if len(calls) == 5:
        larger = jax.tree.map(lambda x: 20 * x, states.params)
        states = states._replace(params=larger)
      return update(states, batches)

    return call

  monkeypatch.setattr(loop.update_lib, 'over_devices', blown_up)
  assert train(config, tmp_path) is None
  said = capsys.readouterr().err
  assert said.count('warning: explosion: at update 5 the KL is') == 1
  assert said.count('explosion') == 1


def test_a_second_trainer_is_refused(config, whole):
  before = (whole / 'metrics.jsonl').read_bytes()
  with loop.Run(config, 0, str(whole)):
    with pytest.raises(ValueError, match=f'in use by process {os.getpid()} on'):
      train(config, whole)
  assert (whole / 'metrics.jsonl').read_bytes() == before
