"""The jump figure and its table, from timings that are known."""

import numpy as np
import pytest

from cgqn_jax.benchmark import jump
from cgqn_jax.figures import jump as jump_lib
from cgqn_jax.figures import style

FRAMES = (6, 12, 20, 40)


def make_rows(repeats=20, models=('cgqn', 'gqn', 'sssm')):
  """GQN and CGQN take 2 ms for a frame, sSSM 1 ms a frame; 2 % of noise."""
  rng = np.random.default_rng(3)
  rows = []
  for model in models:
    for frame in FRAMES:
      for mode in jump.MODES:
        sequential = model == 'sssm'
        count = frame if sequential else 2 if mode == 'one' else frame - 5
        noise = 1 + 0.02 * rng.standard_normal(repeats)
        timings = (1e-3 * count * noise).tolist()
        low, median, high = np.quantile(timings, (0.25, 0.5, 0.75)).tolist()
        rows.append(
          {'model': model, 'frame': frame, 'mode': mode, 'timings': timings}
          | {'seconds': median, 'first_quartile': low, 'third_quartile': high}
          | {'flops': 10**7 * count, 'parameters': 1_051_207, 'context': 6}
          | {'repeats': repeats, 'batch_size': 1, 'num_samples': 1}
          | {'preset': 'small', 'frame_size': 32, 'trained_frames': 21}
          | {'device': 'cpu', 'devices': 1, 'date': '2026-11-26T10:00:00'}
          | {'versions': {'jax': '0.10.2'}}
        )
  return rows


def test_fit_tells_flat_from_growing():
  one = jump.groups(make_rows(), 'one')
  assert [row['frame'] for row in one['sssm']] == list(FRAMES)
  flat, grows = jump.fit(one['cgqn']), jump.fit(one['sssm'])
  low, high = flat.slope.interval
  assert low < 0 < high and high - low < 2e-5
  assert flat.verdict == 'flat' and flat.growth == 0
  assert flat.ratio.median == pytest.approx(1, abs=0.03)
  low, high = grows.slope.interval
  assert 0.95e-3 < low < grows.slope.median < high < 1.05e-3
  assert grows.verdict == 'grows' and grows.growth == pytest.approx(1e7)
  low, high = grows.ratio.interval
  assert low < 40 / 6 < high


def test_the_interval_is_that_of_the_sign_test():
  """Ends at the 6th and the 15th of 20, as in its tables; it covers at 95 %."""
  assert jump.spread(np.arange(20.0, 0.0, -1.0)) == (10.5, (6.0, 15.0))
  assert jump.spread(np.arange(6.0)).interval == (0.0, 5.0)
  assert jump.spread(np.arange(5.0)) == (2.0, None)
  # Skewed noise whose median is log 2.
  draws = np.random.default_rng(0).exponential(size=(2000, 20))
  intervals = np.array([jump.spread(row).interval for row in draws])
  inside = (intervals[:, 0] <= np.log(2)) & (np.log(2) <= intervals[:, 1])
  assert 0.945 < inside.mean() < 0.975


def test_few_timings_decide_nothing():
  fitted = jump.fit(jump.groups(make_rows(3), 'one')['sssm'])
  assert fitted.verdict == 'too few timings'
  assert '[' not in fitted.slope.text('.2g', 1e3)


def test_tables():
  text = jump_lib.tables(make_rows())
  assert '20 timings' in text and 'frames 0 to 5' in text
  head = '| model | parameters | t = 6 | t = 12 | t = 20 | t = 40 |'
  assert text.count(head) == 2
  lines = [x for x in text.splitlines() if x.startswith('| CGQN | 1,051')]
  assert lines[0].endswith('| flat |') and lines[1].endswith('| grows |')
  assert '| sSSM | 0.06 | 0.12 | 0.2 | 0.4 | 10 |' in text
  assert '* its renderer' not in text
  starred = jump_lib.tables(make_rows(models=('cgqn', 'cgqn_context')))
  assert '* its renderer' in starred


def test_figure():
  rows = make_rows()
  figure, numbers = jump_lib.draw(rows)
  shown = {line.get_label(): line for line in figure.axes[0].lines}
  for model, group in jump.groups(rows, 'one').items():
    line = shown[style.name(model)]
    assert line.get_color() == style.color(model)
    milliseconds = [1e3 * row['seconds'] for row in group]
    np.testing.assert_allclose(line.get_ydata(), milliseconds)
  assert [axis.get_yscale() for axis in figure.axes] == ['log'] * 4
  one, every = (figure.axes[i].get_title() for i in (0, 1))
  assert (one, every) == ('frame t alone', 'all frames from 6 to t')
  ticks = [text.get_text() for text in figure.axes[2].get_xticklabels()]
  assert ticks == ['6', '12', '20', '40']
  line = numbers['modes']['one']['sssm']
  assert line['frame'] == list(FRAMES) and line['verdict'] == 'grows'
  assert line['slope_flops'] == pytest.approx(1e7)
  assert 'sSSM 1 [' in numbers['caption'] or 'sSSM 0.99' in numbers['caption']
