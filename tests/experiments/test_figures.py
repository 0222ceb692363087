"""figures.py: draws what is there, numbers beside it, says what is missing."""

import json

import numpy as np
import pytest

from cgqn_jax.comparison import results
from cgqn_jax.figures import scenes, style
from cgqn_jax.simulators import dice
from configs import comparison as videos
from configs import dice_comparison
from tests import comparison_files


def summarise(config, out, metrics, missing=()):
  """Runs, their rows, and comparison.json as far as figures.py reads it."""
  runs = comparison_files.experiment(config, out, metrics, missing)
  rows = [results.row(r, out) for r in runs if r.name not in missing]
  rows = results.choose(rows, config.chosen_share, config.chosen_from)
  results.write_rows(out, rows)
  summary = {'missing': dict.fromkeys(missing, 'update 3 of 9')}
  (out / 'comparison.json').write_text(json.dumps(summary))


@pytest.fixture(scope='module')
def of_dice(tmp_path_factory):
  def metrics(run):
    cgqn = run.model == 'cgqn'
    elbo = (-2990.0 if cgqn else -2984.0) + run.seed
    return comparison_files.dice_metrics(elbo, 4.0, 4.2 if cgqn else 11.0)

  out = tmp_path_factory.mktemp('dice')
  config = dice_comparison.get_config('preset=small')
  summarise(config, out, metrics, ('gqn-variance0.02-seed1',))
  return out


@pytest.fixture(scope='module')
def of_videos(tmp_path_factory):
  out = tmp_path_factory.mktemp('videos')
  config = videos.get_config('preset=small').unlock()
  config.compared, config.seeds = 'cgqn,gqn,sv2p', tuple(range(7))
  summarise(
    config,
    out,
    lambda run: comparison_files.video_metrics(0.01 - run.seed / 1e3),
    ('gqn-seed5', *(f'sv2p-seed{seed}' for seed in range(7))),
  )
  return out


def test_dice(of_dice, programs, tmp_path):
  flags = [f'--runs={of_dice}', f'--out={tmp_path}']
  (done,) = programs([['figures.py', *flags]])
  assert done.code == 0, done.err
  assert 'missing: gqn-variance0.02-seed1: update 3 of 9' in done.out
  # There are no workdirs to sample from; the rest is drawn.
  assert 'figure 7 is left out: ' in done.out
  assert (tmp_path / 'figure_6.png').exists()
  numbers = json.loads((tmp_path / 'figure_6.json').read_text())
  assert len(numbers['runs']) == 7 and '200 scenes' in numbers['caption']
  gain = numbers['gain']['0.01']
  # Both curves end at (2 - 1) times the numbers of their tables.
  assert gain['means'][-1] == pytest.approx(6.0) and gain['oracle'] == 8.0
  assert gain['steps'] == [375, 750, 1125, 1500]
  assert numbers['gain']['0.02']['deviations'] is None  # seed 0 alone
  table = json.loads((tmp_path / 'consistency.json').read_text())
  assert table['variances']['0.02']['gqn']['runs'] == 1
  assert '| 0.01 | gqn | 2 |' in (tmp_path / 'consistency.md').read_text()


def test_videos(of_videos, programs, tmp_path):
  flags = [f'--runs={of_videos}', f'--out={tmp_path}', '--only=5', '--sem=2']
  (done,) = programs([['figures.py', *flags]])
  assert done.code == 0, done.err
  # A run is missing, and all of a model; the others are drawn.
  for name in ('gqn-seed5', 'sv2p-seed0', 'sv2p-seed6'):
    assert f'missing: {name}: update 3 of 9' in done.out
  names = {path.stem for path in tmp_path.glob('*.png')}
  assert names == {
    f'figure_5{part}{kind}'
    for part in 'ab'
    for kind in ('', '_seconds', '_flops')
  }
  numbers = json.loads((tmp_path / 'figure_5a.json').read_text())
  cgqn = numbers['models']['cgqn']
  assert list(numbers['models']) == ['cgqn', 'gqn']
  assert len(numbers['models']['gqn']['curves']) == 6
  assert len(cgqn['curves']) == 7 and cgqn['mean'] == pytest.approx(7.0)
  # Deviation sqrt(14 / 3) of 4 to 10, 2 x SEM.
  assert cgqn['bar'] == pytest.approx(2 * (28 / 6 / 7) ** 0.5)
  low, high = cgqn['bootstrap_95']
  assert 5 < low < 7 < high < 9
  assert numbers['levels']['copy last frame'] == pytest.approx(11.0)
  best = json.loads((tmp_path / 'figure_5b.json').read_text())
  # The best 2 of 7 by validation loss: seeds 0 and 1.
  assert best['models']['cgqn']['finals'] == pytest.approx([10.0, 9.0])


def test_mistakes(of_dice, of_videos, finished, programs, tmp_path):
  cases = [
    ([], 'give --runs'),
    ([f'--runs={tmp_path / "none"}'], 'does not exist'),
    ([f'--runs={of_dice}', '--only=2'], "no figure '2'; there are 3, 4"),
    ([f'--runs={of_dice}', '--only=5'], 'these runs of dice'),
    ([f'--runs={of_videos}', '--only=6'], 'these runs of videos'),
    ([f'--runs={of_dice}', '--only=7', '--variance=3'], '0.01, 0.02'),
    ([f'--workdirs=cgqn={finished}', '--only=7'], 'these runs of videos'),
    ([f'--workdirs=cgqn={finished}', '--only=4'], 'give --workdirs=cgqn=W'),
    ([f'--workdirs=cgqn={finished}', '--only=3', '--scenes=a'], '--scenes=a'),
    ([f'--runs={of_dice}', '--formats=png,bmp'], "no 'bmp'; use png, pdf"),
  ]
  out = tmp_path / 'out'
  done = programs([['figures.py', f'--out={out}', *case] for case, _ in cases])
  for (case, message), one in zip(cases, done, strict=True):
    assert one.code == 1 and 'Traceback' not in one.err, (case, one)
    assert message in one.out + one.err, (case, one)
  assert not out.exists()


def test_figure_3_and_learning_curves_of_a_workdir(
  finished, programs, tmp_path
):
  flags = [f'--workdirs=cgqn={finished}', f'--out={tmp_path}', '--scenes=0,1']
  flags.append('--formats=png,pdf,svg')
  curves = ['curves.py', f'--workdirs={finished}']
  picture = f'--out={tmp_path / "curves.pdf"}'
  drawn, *plotted, refused = programs(
    [
      ['figures.py', *flags],
      [*curves, picture],
      [*curves, picture, '--seconds=0.5'],
      [*curves, picture, '--seconds=0.5,x'],
    ]
  )
  assert drawn.code == 0, drawn.err
  numbers = json.loads((tmp_path / 'figure_3.json').read_text())
  assert numbers['columns'] == ['F1', 'F6', 'F11', 'F16', 'F21']
  assert numbers['rows'] == ['truth', 'CGQN, 1', 'CGQN, 2']
  starts = {'png': b'\x89PNG', 'pdf': b'%PDF', 'svg': b'<?xml'}
  for kind, start in starts.items():
    assert (tmp_path / f'figure_3.{kind}').read_bytes().startswith(start)
  # In words: what was seen, and no name of a folder.
  assert 'sees, F1 to F6. CGQN at update 12' in numbers['caption']
  assert finished.name not in numbers['caption']
  assert numbers['runs'] == {'cgqn': str(finished)}
  for done in plotted:
    assert done.code == 0 and 'curves.pdf' in done.out, done.err
  assert (tmp_path / 'curves.pdf').read_bytes().startswith(b'%PDF')
  assert refused.code == 1 and "'0.5,x'; give a number" in refused.err


def test_the_camera_map_marks_the_side_that_the_context_does_not_see():
  """A camera sees a side iff it is before it, whatever the simulator counts."""
  for example_id in range(20):
    room = dice.sample('test', example_id)
    shown = np.asarray(dice.face_pixels(room, 32, 2))[:, :4] > 0
    corners = scenes.cube_corners(room.cube)
    for side in range(4):
      ends = scenes.hidden_side(room.cube, side)
      normal = ends.mean(0) - corners.mean(0)
      before = (room.cameras[:, :2] - ends.mean(0)) @ normal
      # Grazing views may show less than a sub-sample.
      clear = np.abs(before) > 0.01
      assert np.array_equal(shown[clear, side], before[clear] > 0)


def test_captions_push_pages_up_without_stretching_them():
  page = scenes._Page(4.0, 2.0)
  axis = page.axis(0.5, 0.25, 1.0)
  style.caption(page.figure, 'words ' * 60)
  width, height = page.figure.get_size_inches()
  box = axis.get_position()
  assert height > 2.3 and box.width * width == pytest.approx(1.0)
  assert box.height * height == pytest.approx(1.0)
  assert (1 - box.y1) * height == pytest.approx(0.25)
