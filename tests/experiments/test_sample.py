"""sample.py: any frames in, any frames out, in three formats."""

import shutil

import jax
import numpy as np
from PIL import Image

import cgqn_jax
from cgqn_jax.data import batches
from cgqn_jax.data.sources import open_source
from cgqn_jax.simulators import narratives
from cgqn_jax.types import Scene


def test_pictures_and_arrays(finished, programs, tmp_path):
  workdir = f'--workdir={finished}'
  flags = ['--context=0,5', '--queries=20,6:9', '--scenes=1,3']
  done = programs(
    [
      ['sample.py', workdir, *flags, '--seed=3', f'--out={tmp_path / name}']
      for name in ('a.png', 'a.gif', 'a.webp', 'a.npz')
    ]
  )
  for ran in done:
    assert ran.code == 0, ran.err
    assert '2 scene(s), 4 samples each' in ran.out
    # Trained on 3 to 6 of the first 6 frames, as the preset has it.
    assert 'this context of 2 is outside of that' in ran.err
  sheet = Image.open(tmp_path / 'a.png')
  # 4 queries, and 2 scenes of a truth and 4 samples.
  assert sheet.width > 4 * 16 and sheet.height > 10 * 16
  assert np.asarray(sheet).std() > 5
  for name in ('a.gif', 'a.webp'):
    with Image.open(tmp_path / name) as film:
      # 5 frames of 96 pixels side by side: a scene is not broken.
      assert film.n_frames == 4 and film.width > 5 * 96 > film.height
  arrays = np.load(tmp_path / 'a.npz')
  assert arrays['samples'].shape == (4, 2, 4, 16, 16, 3)
  assert arrays['samples'].dtype == np.float32
  assert arrays['queries'].tolist() == [20, 6, 7, 8]
  assert arrays['context'].tolist() == [[0, 5], [0, 5]]
  assert arrays['scenes'].tolist() == [1, 3]
  for truth, scene in zip(arrays['truth'], (1, 3), strict=True):
    story = narratives.sample('traveling_salesman', 'test', scene)
    expected = narratives.render(story, 16)[[20, 6, 7, 8]]
    assert np.abs(truth.astype(int) - expected).max() <= 4
  samples = arrays['samples']
  assert len({x.tobytes() for x in samples.reshape(8, -1)}) == 8

  # The library gives the same: this seed, these scenes, these frames.
  model, params, config = cgqn_jax.load(finished)
  scenes = batches.whole_scenes(open_source(config, 'test'), [1, 3])
  context = Scene(scenes.frames[:, [0, 5]], scenes.views[:, [0, 5]])
  expected = jax.jit(model.sample, static_argnames='num_samples')(
    params,
    jax.random.key(3),
    context,
    np.ones((2, 2), bool),
    scenes.views[:, [20, 6, 7, 8]],
    num_samples=4,
    example_id=np.array([1, 3]),
  )
  expected = np.clip(expected, 0, 1)
  np.testing.assert_allclose(samples, expected, rtol=1e-4, atol=1e-5)


def test_mistakes(finished, programs, tmp_path, tmp_path_factory):
  bare = tmp_path_factory.mktemp('bare')  # a config alone is no model
  shutil.copy(finished / 'config.json', bare)
  out = f'--out={tmp_path / "x.png"}'
  workdir = f'--workdir={finished}'
  cases = [
    ([workdir, '--context=99', out], '--context=99: there is no 99'),
    ([workdir, '--context=a', out], "'a' is no frame"),
    ([workdir, '--queries=0:22', out], 'there is no 21; it must be 0 to 20'),
    ([workdir, '--queries=0:9:0', out], '--queries=0:9:0'),
    ([workdir, '--scenes=256', out], 'the test split has no scene 256'),
    ([workdir, '--scenes=', out], '--scenes names no scene'),
    ([workdir, '--num_samples=0', out], 'num_samples'),
    ([workdir, '--step=worst', out], "'worst'"),
    ([workdir, f'--out={tmp_path / "x.bmp"}'], 'x.bmp'),
    ([f'--workdir={tmp_path / "none"}', out], 'does not exist'),
    ([f'--workdir={bare}', out], 'no checkpoint was saved'),
    ([out], 'workdir'),
  ]
  done = programs([['sample.py', *case] for case, _ in cases])
  for (case, message), ran in zip(cases, done, strict=True):
    assert ran.code == 1 and 'Traceback' not in ran.err, (case, ran)
    assert message in ran.err and ran.err.count('\n') <= 2, (case, ran)
  assert list(tmp_path.iterdir()) == []
