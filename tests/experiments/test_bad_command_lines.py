"""Mistakes on command lines, of every program: one line, nothing written.

A dozen run always, the others by `make test-slow`. What belongs to one program
alone is tested beside its other behaviour.
"""

import pathlib
import shutil

import pytest

from cgqn_jax.files import write_jsonl
from cgqn_jax.training.workdir import WEIGHTS as SHIPPED

NARRATIVES = '--config=configs/narratives.py:preset=smoke'
VIDEOS = '--config=configs/comparison.py:preset=smoke'
SHORT = (NARRATIVES, '--config.data.source=simulator', '--config.num_steps=2')
WEIGHTS = '--workdir=color_reaction'
CONFIG_JSON = SHIPPED / 'color_reaction' / 'config.json'

# What is typed, with {} for the folder of `place`, and what is answered.
FAST = [
  ('train.py', *SHORT, '--workdir=gs://b/run', 'gs://b/run is no path'),
  ('train.py', NARRATIVES, '--config.batch-size=3', 'nearest is batch_size'),
  ('train.py', '--config={}/empty.py', 'has no function get_config'),
  ('sample.py', WEIGHTS, '--fps=0', 'fps is 0; it must be 0.01 to 100'),
  ('sample.py', WEIGHTS, '--fps=nan', 'fps is nan'),
  ('sample.py', WEIGHTS, '--out={}/x.tiff', 'use one of .png'),
  ('sample.py', WEIGHTS, '--out={}/dangling/x.png', 'is a link to nowhere'),
  ('evaluate.py', WEIGHTS, '--out={}/file/eval', 'file is a file, not'),
  ('evaluate.py', WEIGHTS, '--seed=-1', 'seed'),
  ('explore.py', WEIGHTS, '--out={}/file', "its suffix is ''; give .html"),
  ('benchmark.py', NARRATIVES, '--out=/proc/none/x', 'write into /proc/none'),
  ('jump.py', VIDEOS, '--out=s3://b/x.jsonl', 's3://b/x.jsonl is no path'),
  ('figures.py', '--runs={}/cut', '--only=6', '--out={}/new',
   'comparison.json cannot be read as JSON'),
  ('curves.py', '--workdirs={}/broken', '--out={}/x.png', 'line 2: not a row'),
]  # fmt: skip
SLOW = [
  ('train.py', *SHORT, '--workdir={}/file/run', 'file is a file, not a folder'),
  ('train.py', *SHORT, '--workdir={}/dangling', 'is a link to nowhere'),
  ('train.py', *SHORT, '--workdir=', 'the path is empty'),
  ('train.py', *SHORT, '--workdir=~nobody-at-all/x', 'is not known'),
  ('train.py', '--config=narratives.py', 'config that comes with cgqn_jax'),
  ('train.py', '--config=gs://b/c.py', 'gs://b/c.py is no path'),
  ('train.py', '--config={}/dict.py', 'ConfigDict'),
  ('train.py', '--config={}/raises.py', 'raises.py'),
  ('train.py', *SHORT, '--distributed', '--distributed: '),
  ('sample.py', WEIGHTS, '--fps=-3', 'fps is -3'),
  ('sample.py', WEIGHTS, '--fps=inf', 'fps is inf'),
  ('sample.py', WEIGHTS, '--out={}', 'use one of .png'),
  ('sample.py', WEIGHTS, '--out={}/x.gif', '--seed=2147483648', 'seed'),
  ('sample.py', WEIGHTS, '--out={}/file/x.PNG', 'file is a file'),
  ('sample.py', '--workdir=https://b/run', 'https://b/run is no path'),
  ('sample.py', '--workdir={}/file', 'not a cgqn_jax workdir'),
  ('evaluate.py', WEIGHTS, '--out=gs://b', 'gs://b is no path'),
  ('evaluate.py', WEIGHTS, '--out={}/dangling', 'is a link to nowhere'),
  ('evaluate.py', WEIGHTS, '--out={}/file', 'file is a file, not a folder'),
  ('evaluate.py', WEIGHTS, '--source=web', 'source'),
  ('explore.py', WEIGHTS, '--out={}/notes.html', 'is no page of explore.py'),
  ('explore.py', WEIGHTS, '--out={}/x.html', '--scenes=', 'names no scene'),
  ('explore.py', WEIGHTS, '--out={}/x.html', '--source=simulator',
   '--scenes=1000', 'has no scene 1000'),
  ('explore.py', WEIGHTS, '--out={}/x.html', '--context=12',
   'there is no 12; it must be 0 to 11'),
  ('benchmark.py', NARRATIVES, '--out={}', 'is a folder; give a file in it'),
  ('benchmark.py', NARRATIVES, '--out=/dev/full', 'is no ordinary file'),
  ('jump.py', VIDEOS, '--out={}/file/x.jsonl', 'file is a file'),
  ('figures.py', '--runs={}/cut', '--out={}/new', 'runs.jsonl, line 1: not a'),
  ('figures.py', '--runs={}/cut', '--only=6', '--sem=nan', '--out={}/new',
   '--sem is nan'),
  ('figures.py', '--jump={}/file', '--out={}/new', 'nothing was drawn'),
  ('figures.py', '--jump={}/file', '--out={}/dangling', 'is a link to nowhere'),
  ('figures.py', '--workdirs=cgqn=gs://b', '--out={}/new', 'gs://b is no path'),
  ('curves.py', '--workdirs={}/whole', '--out={}/x.doc', 'use one of .'),
  ('curves.py', '--workdirs={}/whole', '--out={}/file/x.png', 'file is a file'),
  ('curves.py', '--workdirs={}/whole', '--seconds=nan', "'nan'; give a number"),
  ('curves.py', '--workdirs=gs://b', 'gs://b is no path'),
  ('export.py', WEIGHTS, '--out={}/file/new', 'file is a file, not a folder'),
  ('export.py', WEIGHTS, '--out={}/whole', 'exists; remove it or choose'),
  ('compare.py', VIDEOS, '--out={}/file', 'file is a file, not a folder'),
  ('compare.py', VIDEOS, '--out={}/dangling', 'is a link to nowhere'),
  ('compare.py', VIDEOS, '--out={}/new', '--config.base={}/empty.py',
   'has no function get_config'),
  ('compare.py', VIDEOS, '--out={}/chosen', '--list', 'is not of the form'),
]  # fmt: skip


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> pathlib.Path:
  """A folder with all that can be wrong in it."""
  folder = tmp_path_factory.mktemp('place')
  (folder / 'file').write_text('mine')
  (folder / 'notes.html').write_text('<p>mine</p>')
  (folder / 'dangling').symlink_to('nowhere')
  (folder / 'empty.py').write_text('x = 1\n')
  (folder / 'dict.py').write_text('def get_config():\n  return {}\n')
  (folder / 'raises.py').write_text('def get_config():\n  return {}[1]\n')
  for name in ('cut', 'broken', 'whole', 'chosen'):
    (folder / name).mkdir()
  (folder / 'cut' / 'runs.jsonl').write_text('{"run": "cgqn-se\n')
  (folder / 'cut' / 'comparison.json').write_text('{"missing": {')
  row = {'step': 1, 'split': 'train', 'loss': 1.0, 'mse': 1.0, 'kl': 1.0}
  for name in ('broken', 'whole'):
    write_jsonl(folder / name / 'metrics.jsonl', [row])
    shutil.copy(CONFIG_JSON, folder / name)
  with (folder / 'broken' / 'metrics.jsonl').open('ab') as file:
    file.write(b'{"step": 2, "split": "tr\xffin"}\n')
  (folder / 'chosen' / 'chosen.json').write_text('{"models": []}')
  return folder


def ran(cases, place, programs):
  """What each of these commands left, and that it is nothing."""
  before = contents(place)
  commands = [[word.format(place) for word in case[:-1]] for case in cases]
  done = programs(commands)
  assert contents(place) == before
  return dict(zip(cases, done, strict=True))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    str(p): p.read_bytes() if p.is_file() else b'' for p in folder.rglob('*')
  }


@pytest.fixture(scope='module')
def ran_fast(place, programs):
  return ran(FAST, place, programs)


@pytest.fixture(scope='module')
def ran_slow(place, programs):
  return ran(SLOW, place, programs)


def check(case, done):
  assert done.code == 1, done
  (line,) = done.err.splitlines()
  assert line.startswith('error: ') and 'Traceback' not in done.err
  # Figures name each that they leave out where the others are told of.
  assert case[-1] in line + (done.out if case[0] == 'figures.py' else '')


@pytest.mark.parametrize('case', FAST, ids=lambda case: ' '.join(case[:-1]))
def test_mistake(case, ran_fast):
  check(case, ran_fast[case])


@pytest.mark.slow
@pytest.mark.parametrize('case', SLOW, ids=lambda case: ' '.join(case[:-1]))
def test_further_mistake(case, ran_slow):
  check(case, ran_slow[case])
