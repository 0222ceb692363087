"""evaluate.py: finite numbers beside their anchors, once a protocol."""

import json
import math
import shutil

import numpy as np
import pytest

FLAGS = (
  '--split=validation', '--num_scenes=4', '--num_samples=3', '--num_draws=2',
  '--batch_size=3',
)  # fmt: skip


@pytest.fixture(scope='module')
def evaluated(finished, programs):
  """The same evaluation twice."""
  return programs([['evaluate.py', f'--workdir={finished}', *FLAGS]] * 2)


def test_metrics(finished, evaluated):
  assert evaluated[0].code == 0, evaluated[0].err
  result = json.loads((finished / 'eval' / 'metrics.json').read_text())
  metrics, protocol = result['metrics'], result['protocol']
  for name in 'mse_by_frame', 'mean_mse_by_frame':
    curve = metrics.pop(name)
    assert len(curve) == 15 and all(0 < x < 1 for x in curve)
  assert all(math.isfinite(value) for value in metrics.values())
  for name, value in {
    'split': 'validation', 'num_scenes': 4, 'num_samples': 3, 'num_draws': 2,
    'context': [0, 1, 2, 3, 4, 5], 'hidden_frames': 15, 'num_targets': 2,
    'pixel_variance': 0.5, 'frame_size': 16, 'model': 'cgqn', 'seed': 0,
    'dataset': 'narratives/traveling_salesman', 'step': 12,
    'valid_below': 0.1, 'unjudged': None,
  }.items():  # fmt: skip
    assert protocol[name] == value, name
  # Anchors of 6 futures in 3 draws, which are distinct, two alike or all alike
  # in 120, 90 and 6 of 216 cases; the oracle beats any model of 12 updates.
  assert metrics['oracle_modes'] == pytest.approx(6 * (1 - (5 / 6) ** 3))
  apart = (120 * 3 / 6 + 90 * 4 / 6 + 6 * 5 / 6) / 216
  assert metrics['oracle_total_variation'] == pytest.approx(apart)
  assert metrics['oracle_best_of_3'] < metrics['best_of_3']
  assert metrics['best_of_3'] <= metrics['best_of_1']
  assert metrics['pixel_mean'] < metrics['oracle_best_of_1']
  assert 0 <= metrics['validity'] <= 1 and 1 <= metrics['modes'] <= 3
  # 2 targets of 16x16x3 values at variance 0.5: 353 nats of constant each.
  elbo, targets = metrics['negative_elbo'], protocol['num_targets']
  assert metrics['negative_elbo_per_target'] == pytest.approx(elbo / targets)
  constant = 768 / 2 * math.log(2 * math.pi * 0.5)
  assert 2 * constant < elbo < 2 * constant + 500
  bits = elbo / (2 * 768 * math.log(2)) + 8
  assert metrics['bits_per_dimension'] == pytest.approx(bits)
  assert (finished / 'eval' / 'samples.png').stat().st_size > 1000


def test_scores_of_each_scene(finished, evaluated):
  """Their means are the metrics; scenes are named, and their errors kept."""
  result = json.loads((finished / 'eval' / 'metrics.json').read_text())
  with np.load(finished / 'eval' / 'per_scene.npz') as arrays:
    npz = dict(arrays)
  assert npz['example_id'].tolist() == [0, 1, 2, 3]
  assert npz['errors'].shape == (4, 3)
  np.testing.assert_allclose(npz['errors'].mean(1), npz['best_of_1'], rtol=1e-5)
  np.testing.assert_allclose(npz['errors'].min(1), npz['best_of_3'], rtol=1e-5)
  for name in ('best_of_3', 'negative_elbo', 'kl', 'copy_last_frame'):
    assert npz[name].shape == (4,)
    mean = result['metrics'][name]
    assert npz[name].mean() == pytest.approx(mean, rel=1e-5), name


def test_the_table_shows_them(finished, evaluated):
  result = json.loads((finished / 'eval' / 'metrics.json').read_text())
  out = evaluated[0].out
  metrics = result['metrics']
  for name in (
    'best_of_3', 'oracle_best_of_3', 'pixel_mean', 'copy_nearest_frame'
  ):  # fmt: skip
    assert f'{1e3 * metrics[name]:.3f}' in out
  for label, name in (
    ('  valid samples, share', 'validity'),
    ('  futures covered in 3 samples', 'valid_modes'),
    ('  total variation to uniform', 'total_variation'),
    ('  KL', 'kl'),
  ):
    anchor = metrics.get(f'oracle_{name.removeprefix("valid_")}', 1.0)
    assert f'{label:34}{metrics[name]:9.3f}{anchor:9.3f}\n' in out, label
  assert metrics['oracle_kl'] == pytest.approx(math.log(6))
  last = 1e3 * metrics['mean_mse_by_frame'][-1]
  assert 'by frame: F7 ' in out and f'F21 {last:.2f}\n' in out
  assert f'{result["metrics"]["negative_elbo"]:.2f} nats per scene' in out
  assert 'validation split: 4 scenes, 16x16, update 12, seed 0' in out


def test_a_second_call_takes_what_is_there(finished, evaluated):
  first, second = evaluated
  assert second.code == 0, second.err
  path = finished / 'eval' / 'metrics.json'
  assert f'this evaluation was already in {path}' in second.out
  assert second.out.split('\n\nthis')[0] == first.out.split('\n\nwrote')[0]


def test_contexts_without_frame_1(finished, programs, tmp_path):
  """Two frames from the middle, and none: best of n, but no judge."""
  folders = tmp_path / 'two', tmp_path / 'none'
  done = programs(
    [
      ['evaluate.py', f'--workdir={finished}', *FLAGS, f'--context={context}',
       f'--out={out}']
      for context, out in zip(('12,4', ''), folders, strict=True)
    ]
  )  # fmt: skip
  for ran, out, hidden in zip(done, folders, (19, 21), strict=True):
    assert ran.code == 0, ran.err
    metrics = json.loads((out / 'metrics.json').read_text())['metrics']
    assert len(metrics['mean_mse_by_frame']) == hidden
    assert 'validity' not in metrics and 'pixel_mean' not in metrics
    assert ('copy_nearest_frame' in metrics) == (hidden == 19)
    assert f'best of 3{"":23}{1e3 * metrics["best_of_3"]:9.3f}' in ran.out
    assert 'covered: futures are counted from F1, which is unseen' in ran.out
    assert 'by frame: F1 ' in ran.out and 'valid samples' not in ran.out


def test_no_more_scenes_are_reported_than_there_are(
  finished, evaluated, programs, tmp_path
):
  """The tiny split has 256, whatever is asked for."""
  result = json.loads((finished / 'eval' / 'metrics.json').read_text())
  result['protocol']['num_scenes'] = 256
  (tmp_path / 'metrics.json').write_text(json.dumps(result))
  shutil.copy(finished / 'eval' / 'per_scene.npz', tmp_path)
  command = ['evaluate.py', f'--workdir={finished}', *FLAGS]
  (done,) = programs([[*command, '--num_scenes=1000', f'--out={tmp_path}']])
  assert done.code == 0, done.err
  assert 'this evaluation was already in' in done.out
  assert 'validation split: 256 scenes' in done.out


def test_mistakes(finished, programs, tmp_path):
  cases = [
    ([f'--workdir={tmp_path / "none"}'], 'does not exist'),
    ([f'--workdir={tmp_path}'], 'not a cgqn_jax workdir'),
    ([f'--workdir={finished}', '--step=3'], 'choose one of [4, 8, 12]'),
    ([f'--workdir={finished}', '--num_scenes=0'], 'num_scenes'),
    ([f'--workdir={finished}', '--split=train'], 'split'),
    ([f'--workdir={finished}', '--context=21'], 'there is no 21'),
    ([f'--workdir={finished}', '--context=0,0'], 'names a frame twice'),
  ]
  done = programs([['evaluate.py', *case] for case, _ in cases])
  for (case, message), ran in zip(cases, done, strict=True):
    assert ran.code == 1 and 'Traceback' not in ran.err, (case, ran)
    assert message in ran.err and ran.err.count('\n') <= 2, (case, ran)
  assert list(tmp_path.iterdir()) == []
