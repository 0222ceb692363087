"""From files to sampled pictures: docs/own_data.md does what it says."""

import json
import pathlib
import re
import shlex
import shutil

import numpy as np
from PIL import Image
import pytest

from tests import moving_shapes

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def trained(tmp_path_factory, programs, tiny):
  """The page's three commands on twelve GIFs, with smoke settings."""
  folder = tmp_path_factory.mktemp('own')
  moving_shapes.twelve_gifs(folder / 'my_videos')
  page = (ROOT / 'docs' / 'own_data.md').read_text('utf-8')
  block = re.search(r'```\n(.*?)```', page, re.S)[1]
  for name in ('my_videos', 'data/mine', 'runs/mine'):
    block = re.sub(rf'\b{name}\b', str(folder / name), block)
  block = block.replace('own.py:', 'own.py:preset=smoke,')
  commands = [shlex.split(line)[1:] for line in block.splitlines()]
  commands = [[script.removeprefix('experiments/'), *flags]
              for script, *flags in commands]  # fmt: skip
  more = {
    'import_data.py': ['--size=16'],
    'train.py': [
      x for x in tiny[1:] if 'num_targets' not in x and 'data.source' not in x
    ],
    'sample.py': [],
  }
  assert [command[0] for command in commands] == list(more)
  done = programs([[*command, *more[command[0]]] for command in commands])
  for ran in done:
    assert ran.code == 0 and 'Traceback' not in ran.err, ran
  return folder, done


def test_three_commands(trained):
  folder, (imported, _, sampled) = trained
  assert '12 scenes of 8 to 19 frames' in imported.out
  assert '24x18 pixels become 16x16' in imported.out
  assert f'configs/own.py:path={folder / "data/mine"}' in imported.out
  with Image.open(folder / 'data' / 'mine' / 'contact.png') as sheet:
    assert np.asarray(sheet).std() > 5
  assert '1 scene(s), 4 samples each' in sampled.out
  source = json.loads((folder / 'data/mine/dataset.json').read_text())
  (first, *_) = sorted((folder / 'data/mine/test').iterdir())
  with Image.open(folder / 'runs' / 'mine.gif') as film:
    # Pillow joins pictures that are equal.
    assert 5 < film.n_frames <= len(np.load(first)['frames']) < 19
  assert source['shortest'] == 8 and source['num_frames'] == 19


def test_results_on_own_videos(trained, programs):
  folder, _ = trained
  (done,) = programs(
    [
      ['evaluate.py', f'--workdir={folder / "runs/mine"}', '--num_samples=3',
       '--num_draws=1', '--batch_size=2'],
    ]
  )  # fmt: skip
  assert done.code == 0, done.err
  assert done.out.startswith('cgqn on mine, test split: ')
  for word in ('oracle', 'narratives', 'salesman', 'nan'):
    assert word not in done.out
  scores = json.loads((folder / 'runs/mine/eval/metrics.json').read_text())
  assert scores['protocol']['dataset'] == 'mine'
  assert np.isfinite(scores['metrics']['best_of_3'])
  errors = scores['metrics']['mse_by_frame']
  lengths = [
    len(np.load(path)['frames'])
    for path in (folder / 'data/mine/test').iterdir()
  ]
  known = max(lengths) - 2  # two are the context
  assert [e is not None for e in errors] == [i < known for i in range(17)]


def test_from_two_pictures(trained, programs, tmp_path):
  folder, _ = trained
  pictures = moving_shapes.film(3, 6, 16, 16)
  (tmp_path / 'two').mkdir()
  for n in (9, 10):
    pictures[n - 9].save(tmp_path / 'two' / f'{n}.png')
  moving_shapes.save_film(tmp_path / 'six.gif', pictures)
  flags = ['--queries=0:8', '--context=0,5', f'--out={tmp_path / "x.npz"}']
  workdir = f'--workdir={folder / "runs/mine"}'
  (done,) = programs(
    [['sample.py', workdir, f'--frames={tmp_path / "two"}', *flags]]
  )
  assert done.code == 0, done.err
  assert '2 pictures, 4 samples each' in done.out
  arrays = np.load(tmp_path / 'x.npz')
  assert arrays['samples'].shape == (4, 1, 8, 16, 16, 3)
  assert np.flatnonzero(arrays['known'][0]).tolist() == [0, 5]
  first, second = (np.asarray(picture) for picture in pictures[:2])
  np.testing.assert_array_equal(arrays['truth'][0, [0, 5]], [first, second])
  np.testing.assert_allclose(arrays['views'][0, :, 0], np.arange(8) / 18)
  shutil.copy(tmp_path / 'x.npz', tmp_path / 'two.npz')

  # Of a longer one the numbers are those of its pictures.
  cases = [
    ([f'--frames={tmp_path / "six.gif"}', *flags], None),
    ([f'--frames={tmp_path / "six.gif"}', '--context=0,6', *flags[2:]],
     'has 6 pictures, the model knows frames 0 to 18, and --context names'),
    ([f'--frames={tmp_path / "none"}', *flags[2:]], 'give a folder of'),
    ([f'--frames={tmp_path / "six.gif"}', '--scenes=0', *flags[2:]],
     'give --frames alone'),
  ]  # fmt: skip
  done = programs([['sample.py', workdir, *case] for case, _ in cases])
  assert done[0].code == 0, done[0].err
  again = np.load(tmp_path / 'x.npz')
  assert np.flatnonzero(again['known'][0]).tolist() == list(range(6))
  for (_, message), ran in zip(cases[1:], done[1:], strict=True):
    assert ran.code == 1 and message in ran.err.splitlines()[-1], ran


def test_what_import_refuses(programs, tmp_path):
  videos = tmp_path / 'videos'
  moving_shapes.twelve_gifs(videos)
  shutil.copytree(videos, tmp_path / 'damaged')
  (tmp_path / 'damaged' / 'film 4.gif').write_bytes(b'GIF89a')
  (tmp_path / 'taken').mkdir()
  (tmp_path / 'taken' / 'mine').write_text('of the user')
  (tmp_path / 'one').mkdir()
  shutil.copy(videos / 'film 5.gif', tmp_path / 'one')
  before = sorted(tmp_path.rglob('*'))
  new = f'--out={tmp_path / "new"}'
  cases = [
    ([new], 'give a path'),
    ([tmp_path / 'none', new], 'none does not exist'),
    ([videos, f'--out={tmp_path / "taken"}'], 'is there already'),
    ([videos, f'--out={videos / "new"}'], 'choose an --out beside it'),
    ([videos, new, '--size=30'], '--size is 30; it must be a multiple of 8'),
    ([videos, new, '--fit=squeeze'], 'squeeze'),
    ([tmp_path / 'damaged', new], 'film 4.gif cannot be read'),
    ([tmp_path / 'one', new], 'at least 3 videos'),
    ([videos, new, '--min_frames=30'], 'of fewer than 30 frames'),
  ]
  done = programs([['import_data.py', *case] for case, _ in cases])
  for (case, message), ran in zip(cases, done, strict=True):
    assert ran.code == 1 and 'Traceback' not in ran.err, (case, ran)
    assert message in ran.err.splitlines()[-1], (case, ran)
  assert sorted(tmp_path.rglob('*')) == before
