"""Timing against a fake clock: what counts, in which order."""

import types

import numpy as np
import pytest

from cgqn_jax.benchmark import timing


@pytest.fixture
def clock(monkeypatch):
  fake = types.SimpleNamespace(now=0.0)
  fake.perf_counter = lambda: fake.now
  monkeypatch.setattr(timing, 'time', fake)
  return fake


def call_of(clock, lengths):
  lengths = iter(lengths)

  def call(*args):
    clock.now += next(lengths)
    return args

  return call


def test_timed_returns_the_result_too(clock):
  result, seconds = timing.timed(call_of(clock, [2.5]), np.ones(3), 7)
  assert result[1] == 7 and seconds == 2.5


def test_the_median_leaves_the_warm_up_out(clock):
  lengths = [50.0] + [40.0] * (timing.WARM_UP - 1) + [1.0, 9.0, 2.0]
  call = call_of(clock, lengths)
  assert timing.median_seconds(call, repeats=3) == 2.0
  assert clock.now == sum(lengths)


def test_interleaved_rounds_hold_every_call_in_changing_order(clock):
  made, rounds = [], []

  def call_named(name):
    def call():
      made.append(name)
      clock.now += 1.0 + len(made) % 2  # the first of a pair takes 2
      return name

    return call

  seconds = timing.interleaved(
    {name: call_named(name) for name in 'abcd'}, 5, rounds.append
  )
  assert seconds == {name: [1.0] * 5 for name in 'abcd'}
  assert rounds == [1, 2, 3, 4, 5]
  assert made[::2] == made[1::2]
  orders = [''.join(made[i : i + 8 : 2]) for i in range(0, 40, 8)]
  assert all(sorted(order) == list('abcd') for order in orders)
  assert len(set(orders)) > 1
