"""Timing against a fake clock: what counts, in which order."""

import types

import pytest

from cgqn_jax.benchmark import timing


@pytest.fixture
def clock(monkeypatch):
  fake = types.SimpleNamespace(now=0.0)
  fake.perf_counter = lambda: fake.now
  monkeypatch.setattr(timing, 'time', fake)
  return fake


def test_the_median_leaves_the_warm_up_out(clock):
  lengths = [50.0] + [40.0] * (timing.WARM_UP - 1) + [1.0, 9.0, 2.0]
  left = iter(lengths)

  def call():
    clock.now += next(left)

  assert timing.median_seconds(call, repeats=3) == 2.0
  assert clock.now == sum(lengths)


def test_interleaved_rounds_hold_every_call_in_changing_order(clock):
  made = []

  def call_named(name):
    def call():
      made.append(name)
      clock.now += 1.0 + len(made) % 2  # the first of a pair takes 2

    return call

  seconds = timing.interleaved([call_named(name) for name in 'abcd'], 5)
  assert seconds == [[1.0] * 5] * 4
  assert made[::2] == made[1::2]
  orders = [''.join(made[i : i + 8 : 2]) for i in range(0, 40, 8)]
  assert all(sorted(order) == list('abcd') for order in orders)
  assert len(set(orders)) > 1
