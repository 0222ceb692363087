"""The jump figure and its table, from timings that are known."""

import io

import numpy as np
from PIL import Image
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
  """Of 20 the 6th and the 15th, as in its tables; it covers at 95 %."""
  its = jump.spread(np.arange(20.0, 0.0, -1.0))
  assert its == (10.5, (6.0, 15.0))
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
  assert jump.told(fitted.slope, '.2g', 1e3).count('[') == 0


def test_tables():
  text = jump_lib.tables(make_rows())
  assert '20 timings' in text and 'frames 0 to 5' in text
  head = '| model | parameters | t = 6 | t = 12 | t = 20 | t = 40 |'
  assert text.count(head) == 2
  lines = [x for x in text.splitlines() if x.startswith('| CGQN | 1,051')]
  assert lines[0].endswith('| flat |') and lines[1].endswith('| grows |')
  assert '| sSSM | 0.06 | 0.12 | 0.2 | 0.4 | 10 |' in text
  assert style.FOOTNOTE not in text
  starred = jump_lib.tables(make_rows(models=('cgqn', 'cgqn_context')))
  assert style.FOOTNOTE in starred


def test_figure():
  figure, numbers = jump_lib.draw(make_rows())
  file = io.BytesIO()
  style.save(figure, file)
  pixels = np.asarray(Image.open(file).convert('RGB'))
  for model in ('cgqn', 'gqn', 'sssm'):
    tint = np.array([int(style.color(model)[i : i + 2], 16) for i in (1, 3, 5)])
    assert np.sum(np.all(np.abs(pixels - tint) < 3, axis=-1)) > 100, model
  assert [axis.get_yscale() for axis in figure.axes] == ['log'] * 4
  one, every = (figure.axes[i].get_title() for i in (0, 1))
  assert (one, every) == ('frame t alone', 'all frames from 6 to t')
  ticks = [text.get_text() for text in figure.axes[2].get_xticklabels()]
  assert ticks == ['6', '12', '20', '40']
  its = numbers['modes']['one']['sssm']
  assert its['frame'] == list(FRAMES) and its['verdict'] == 'grows'
  assert its['slope_flops'] == pytest.approx(1e7)
  assert 'sSSM 1 [' in numbers['caption'] or 'sSSM 0.99' in numbers['caption']
