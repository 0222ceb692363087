"""The line of progress: errors in one scale, and the time that is left."""

import numpy as np
import pytest

from cgqn_jax.training import progress as progress_lib
from cgqn_jax.training.progress import Progress, duration


@pytest.fixture
def now(monkeypatch) -> list[float]:
  """The seconds that the clock shows."""
  now = [0.0]
  monkeypatch.setattr(progress_lib.time, 'monotonic', lambda: now[0])
  return now


def test_lines_where_stderr_is_no_terminal(capsys):
  progress = Progress(1000, start=4, interval=0)
  progress.update(5, mse=np.nan, kl=6.25)
  progress.validated('best of 30', 0.0011349)
  for step in range(6, 8):
    progress.update(step, mse=0.0123456, kl=6.25)
  progress.say('saved')
  lines = capsys.readouterr().err.splitlines()
  assert lines[0].startswith('5/1,000, ? left, MSE x 1e-3 ?, kl 6.25, ?, ')
  shown = [line for line in lines if line.startswith('7/1,000, ')]
  assert ' left, MSE x 1e-3 12.3, best of 30 1.13, kl 6.25, ' in shown[-1]
  assert 'updates/s, waiting for data' in shown[-1] and 'saved' in lines


def test_a_line_fits_a_terminal(capsys, monkeypatch):
  """A wrapped one could not be rewritten in place."""
  monkeypatch.setattr(progress_lib.Safe, 'isatty', lambda self: True)
  monkeypatch.setenv('COLUMNS', '50')
  progress = Progress(10**6, interval=0)
  for step in range(1, 5):
    progress.update(step, mse=0.1, kl=1.0)
  progress._bar.refresh()
  lines = capsys.readouterr().err.split('\r')
  assert len(lines) > 1 and max(map(len, lines)) == 49


def test_a_lap_is_of_updates_and_their_waiting_alone(now):
  """Not of the first one, which compiles, nor of what is done between them."""
  progress = Progress(1000, pauses={'save': 3})
  expected = {'updates_per_second': 0.5, 'data_share': 0.25}
  for step in range(1, 10):
    with progress.timed('waiting'):
      now[0] += 0.5
    now[0] += 60 if step == 1 else 1.5
    progress.update(step, mse=1.0, kl=1.0)
    if step == 1:
      assert progress.lap() == {}
    if step % 3 == 0:
      with progress.timed('save'):
        now[0] += 30
    if step == 5:
      assert progress.lap() == expected
  assert progress.lap() == expected
  assert progress.lap() == {}


@pytest.mark.parametrize(('start', 'runs'), [(0, 1), (7, 1), (0, 3)])
def test_the_time_left_is_that_which_it_takes(now, start, runs):
  """With validations and saves in it, from the first of each on."""
  every, total = {'save': 4, 'validation': 10, 'picture': 0}, 35
  progress = Progress(total, start, pauses=every, runs=runs)
  took = {'save': 3.0, 'validation': 20.0, 'picture': 5.0}
  foretold = {}
  if start:  # what the run before should have made; it is one more
    with progress.timed('validation'):
      now[0] += took['validation']
  for step in range(start + 1, total + 1):
    now[0] += 2.0 if step > start + 1 else 50.0
    progress.update(step, mse=1.0, kl=1.0)
    if not progress.untimed().keys() - {'picture'} and step > start + 1:
      foretold[step] = now[0], progress.left()
    for what, n in every.items():
      if step == total or (n and step % n == 0):
        for _ in range(runs):
          with progress.timed(what):
            now[0] += took[what]
  assert foretold.keys() == set(range(9 if start else 11, total + 1))
  for when, left in foretold.values():
    assert when + left == pytest.approx(now[0] - runs * took['picture'])
  assert progress.untimed() == {}


def test_what_is_not_timed_yet_is_counted(now):
  progress = Progress(35, pauses={'save': 4, 'validation': 10, 'picture': 0})
  assert progress.left() is None and not progress.measured(0)
  for step in range(1, 7):
    now[0] += 2.0
    progress.update(step, mse=1.0, kl=1.0)
    if step == 4:
      with progress.timed('save'):
        now[0] += 3
  assert progress.untimed() == {'validation': 4, 'picture': 1}
  assert progress.left() == pytest.approx(29 * 2.0 + 8 * 3)
  assert progress.measured(10) and not progress.measured(11)
  assert progress.rate == pytest.approx(0.5)


def test_the_time_left_follows_a_machine_that_slows_down(now):
  progress = Progress(10_000)
  for step in range(1, 1000):
    now[0] += 1.0 if step < 500 else 3.0
    progress.update(step, mse=1.0, kl=1.0)
  assert progress.left() == pytest.approx(3.0 * 9001, rel=0.01)


def test_the_time_left_recovers_from_a_suspension(now):
  """Ctrl-Z for half an hour is nearly forgotten after six minutes."""
  progress = Progress(10_000)
  for step in range(1, 1000):
    now[0] += 1800.0 if step == 200 else 0.5
    progress.update(step, mse=1.0, kl=1.0)
    if step == 199:
      assert progress.rate == pytest.approx(2.0)
    if step == 920:
      assert progress.rate == pytest.approx(2.0, rel=0.06)


def test_compiling_is_said_once_with_its_seconds(now, capsys):
  progress = Progress(3)
  for _ in range(2):
    with progress.compiling('update'):
      now[0] += 34
  with pytest.raises(ValueError, match='full'), progress.compiling('picture'):
    raise ValueError('full')
  assert capsys.readouterr().err.splitlines() == [
    'update: compiling ...',
    'update: 34 s, compiling included',
    'picture: compiling ...',
  ]


def test_durations_in_words():
  seconds = np.array([0.2, 59.6, 99, 100, 3600, 5999, 9600, 86_400, 788_400])
  assert list(map(duration, seconds)) == [
    '0 s', '60 s', '99 s', '2 min', '60 min', '1 h 40 min', '2 h 40 min',
    '24 h 0 min', '9 days 3 h',
  ]  # fmt: skip
