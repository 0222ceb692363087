"""docs/extending.md does what it says, from its own text."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]


def run(root, *arguments):
  done = subprocess.run(
    [sys.executable, *arguments],
    cwd=root,
    env=os.environ | {'PYTHONPATH': str(root)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def insert(path, before, line):
  text = path.read_text()
  assert text.count(before) == 1, (path, before)
  path.write_text(text.replace(before, line + before))


def test_a_narrative_and_a_model_of_one_s_own(tmp_path):
  for folder in ('cgqn_jax', 'configs', 'datasets', 'experiments'):
    shutil.copytree(
      ROOT / folder,
      tmp_path / folder,
      ignore=shutil.ignore_patterns('weights', '__pycache__'),
    )
  page = (ROOT / 'docs' / 'extending.md').read_text('utf-8')
  blocks = re.findall(r'^`(\S+\.py)`.*?```python\n(.*?)```', page, re.M | re.S)
  assert len(blocks) == 2
  for path, code in blocks:
    assert not (tmp_path / path).exists()
    (tmp_path / path).write_text(code)
  stories = tmp_path / 'cgqn_jax/simulators/narratives/sampling.py'
  package = 'cgqn_jax.simulators.narratives'
  insert(
    stories, f'from {package}.traveling', f'from {package}.swap import SWAP\n'
  )
  insert(stories, '    GREEDY_SALESMAN,\n  )\n', '    SWAP,\n')
  models = tmp_path / 'cgqn_jax/models/build.py'
  insert(models, "  'gqn': _jumpy,\n", "  'fade': Fade,\n")
  package = 'cgqn_jax.models'
  insert(models, f'from {package}.gqn', f'from {package}.fade import Fade\n')

  config = 'configs/narratives.py:preset=smoke,narrative=swap'
  run(
    tmp_path,
    'experiments/train.py',
    f'--config={config}',
    '--config.data.source=simulator',
    '--config.data.frame_size=16',
    '--config.model.name=fade',
    '--config.learning_rate.values=1.0,1.0',
    '--config.num_steps=4',
    '--config.validation_scenes=4',
    '--workdir=run',
  )
  table = run(
    tmp_path, 'experiments/evaluate.py', '--workdir=run', '--num_scenes=2',
    '--num_samples=2', '--num_draws=1',
  )  # fmt: skip
  assert 'fade on narratives/swap' in table and 'valid samples' in table
  rows = (tmp_path / 'run/metrics.jsonl').read_text().splitlines()
  losses = [json.loads(row)['kl'] for row in rows]
  assert np.all(np.equal(losses, 0))
  run(
    tmp_path, 'datasets/build.py', 'preview', 'narratives', '--config=swap_32',
    '--out=swap.png',
  )  # fmt: skip
  assert (tmp_path / 'swap.png').exists()
