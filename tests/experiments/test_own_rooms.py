"""From forty posed photographs to pictures, by docs/own_rooms.md."""

import json
import pathlib
import re
import shlex

import numpy as np
from PIL import Image
import pytest

from cgqn_jax.data import batches, examples, ring, rooms
from cgqn_jax.data.sources import open_source
from cgqn_jax.training.workdir import read_workdir
from tests.data import posed_files

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'own_rooms.md'


def printed(tmp_path: pathlib.Path, tiny: tuple) -> list[list[str]]:
  """The three commands of the page, in a folder of their own, and smaller."""
  text = PAGE.read_text('utf-8')
  block = re.search(r'```\n(.*?)```', text, re.S)[1].replace('\\\n', ' ')
  lines = block.replace('python experiments/', '').splitlines()
  for name in ('my_room', 'data/my_room', 'runs/my_room', 'turn.gif'):
    lines = [
      re.sub(rf'(?<=[ =]){name}', str(tmp_path / name), x) for x in lines
    ]
  commands = [shlex.split(line) for line in lines]
  assert [c[0] for c in commands] == ['import_data.py', 'train.py', 'sample.py']
  smoke = [x.replace('own.py:', 'own.py:preset=smoke,') for x in commands[1]]
  smaller = [flag for flag in tiny[1:] if not flag.startswith('--config.data.')]
  commands[0].append(f'--size={posed_files.SIZE}')
  commands[1] = [*smoke, *smaller, '--config.num_steps=4']
  return commands


def test_three_commands(tmp_path, programs, tiny):
  cameras, frames = posed_files.photographs(count=40)
  posed_files.write_nerf(tmp_path / 'my_room', cameras, frames)
  commands = printed(tmp_path, tiny)
  arrays = f'--out={tmp_path / "turn.npz"}'
  again = [*commands[2][:-1], '--scenes=0,1', '--num_samples=2', arrays]
  around = [*commands[2][:-1], '--queries=1', arrays]
  *done, refused = programs([*commands, again, around])
  for ran in done:
    assert ran.code == 0, ran.err
    assert 'Traceback' not in ran.err
  assert refused.code == 1 and 'give --queries or --turntable' in refused.err
  assert '1 room in' in done[0].out and 'photographs that train' in done[0].out
  dataset = json.loads((tmp_path / 'data/my_room/dataset.json').read_text())
  assert dataset['scenes'] == {'train': 64, 'validation': 4, 'test': 4}
  assert dataset['split_by'] == 'photographs' and dataset['num_frames'] == 10

  with Image.open(tmp_path / 'turn.gif') as film:
    film.load()  # Pillow joins frames that are equal, as they nearly are here
    assert film.width > 4 * posed_files.SIZE

  # Each frame is one of the photographs, and has its camera, as the
  # simulator has it, moved and scaled.
  config = read_workdir(tmp_path / 'runs/my_room')
  middle = (cameras[:, :3].min(0) + cameras[:, :3].max(0)) / 2
  scaled = cameras.copy()
  scaled[:, :3] -= middle
  scaled[:, :3] /= np.abs(scaled[:, :3]).max()
  known = {frame.tobytes(): n for n, frame in enumerate(frames)}
  used = {}
  for split in ('train', 'validation', 'test'):
    source = open_source(config, split)
    scenes = batches.whole_scenes(source, range(len(source)))
    numbers = [known[x.tobytes()] for scene in scenes.frames for x in scene]
    flat = scenes.views.reshape(-1, 7)
    np.testing.assert_allclose(flat, scaled[numbers], atol=1e-5)
    used[split] = np.reshape(numbers, (len(source), 10))
  assert {len(set(used[split][:, rooms.SEEN :].ravel())) for split in used} == {
    32,
    4,
  }
  # What tables and samples ask for was held out, and what they see was not.
  seen = config.data.test_context
  assert seen == tuple(range(rooms.SEEN))
  for split in ('validation', 'test'):
    assert not set(used[split][:, rooms.SEEN :].ravel()) & {*used['train'].flat}
    assert set(used[split][:, list(seen)].ravel()) <= {*used['train'].flat}

  turn = np.load(tmp_path / 'turn.npz')
  assert turn['samples'].shape == (2, 2, 48, 16, 16, 3)
  assert 'truth' not in turn and turn['frames'].shape == (4, 48, 16, 16, 3)
  views = scaled[np.unique(used['train'])].astype(np.float32)
  expected = ring.around(ring.fit(views), 48)
  np.testing.assert_allclose(turn['views'][1], expected, atol=0.1)
  np.testing.assert_allclose(turn['views'][0], turn['views'][1])


@pytest.fixture(scope='module')
def taken() -> tuple[np.ndarray, np.ndarray]:
  return posed_files.photographs(count=10)


def test_the_page_s_picture_is_drawn_by_its_command(tmp_path, programs):
  (command,) = re.findall(
    r'figures.py\s+(--only=axes --out=docs)', PAGE.read_text()
  )
  flags = command.replace('docs', str(tmp_path / 'x')).split()
  (ran,) = programs([['figures.py', *flags]])
  assert ran.code == 0, ran.err
  with (
    Image.open(tmp_path / 'x' / 'axes.png') as drawn,
    Image.open(PAGE.with_name('axes.png')) as kept,
  ):
    assert drawn.size == kept.size
    apart = np.abs(np.asarray(drawn, float) - np.asarray(kept, float))
  # Other versions of matplotlib may draw letters otherwise.
  assert apart.mean() < 3


def test_rooms_of_all_kinds_and_mistakes(tmp_path, programs, taken):
  """COLMAP's, NeRF's own splits, a poses.csv; then what is refused."""
  cameras, frames = taken
  several = tmp_path / 'several'
  posed_files.write_colmap(several / 'colmap', cameras, frames)
  posed_files.write_nerf(several / 'nerf', cameras, frames)
  folder = several / 'csv'
  names = posed_files.write_pictures(folder, frames)
  rows = ['image,x,y,z,yaw,pitch']
  for name, (x, y, z, sin, cos, sin_pitch, cos_pitch) in zip(
    names, cameras, strict=True
  ):
    yaw, pitch = np.arctan2(sin, cos), np.arctan2(sin_pitch, cos_pitch)
    rows.append(f'{name},{x},{y},{z},{yaw},{pitch}')
  (folder / 'poses.csv').write_text('\n'.join(rows))
  # NeRF's own scenes have their pictures in folders train, val and test.
  own = tmp_path / 'own'
  names = posed_files.write_pictures(own / 'train', frames)
  value = posed_files.nerf_of([f'./train/{n[:-4]}' for n in names], cameras)
  (own / 'transforms_train.json').write_text(json.dumps(value))
  few = tmp_path / 'few'
  posed_files.write_nerf(few, cameras[:9], frames[:9])
  out = [f'--out={tmp_path / n}' for n in 'abcdef']
  done = programs(
    [
      ['import_data.py', several, '--size=16', out[0]],
      ['import_data.py', own, '--size=16', out[1]],
      ['import_data.py', few, '--size=16', out[2]],
      ['import_data.py', own, '--size=16', out[3], '--up=y'],
      ['import_data.py', own, '--size=16', out[4], '--up=w'],
    ]
  )
  for ran, number in zip(done[:2], (3, 1), strict=True):
    assert ran.code == 0, ran.err
    assert f'{number} room' in ran.out
  poses = {}
  for kind in ('colmap', 'nerf', 'csv'):
    files = sorted((tmp_path / 'a' / 'train').glob(f'{kind}-*.npz'))
    assert len(files) == 22
    for file in files:
      with np.load(file) as arrays:
        for frame, pose in zip(arrays['frames'], arrays['views'], strict=True):
          poses[kind, frame.tobytes()] = pose
  for (kind, frame), pose in poses.items():
    other = poses.get(('nerf', frame))
    if other is None:
      continue
    if kind == 'csv':  # stays where it is
      pose = np.append(pose[:3], other[3:])
      number = [x.tobytes() for x in frames].index(frame)
      np.testing.assert_allclose(pose[:3], cameras[number, :3], atol=1e-5)
    else:
      views = examples.cameras(np.stack([pose, other]))
      np.testing.assert_allclose(views[0], views[1], atol=1e-5)
  messages = ['few has 9 photographs', 'are rolled by more than', "'w'|--up"]
  for ran, message in zip(done[2:], messages, strict=True):
    assert ran.code == 1 and 'Traceback' not in ran.err
    assert re.search(message, ran.err), ran.err
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    'a', 'b', 'few', 'own', 'several',
  ]  # fmt: skip
