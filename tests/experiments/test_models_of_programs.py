"""The programs with what is not CGQN on narratives: dice, GQN, sSSM."""

import json

import numpy as np
from PIL import Image

_SHORT = (
  '--config.num_steps=2',
  '--config.batch_size=4',
  '--config.validation_scenes=4',
  '--config.data.source=simulator',
  '--config.data.frame_size=16',
)
_NARROW = (
  '--config.model.kernel=3',
  '--config.model.nf_to_hidden=4',
  '--config.model.nf_enc=4',
  '--config.model.nf_to_obs=4',
  '--config.model.nf_dec=4',
)


def test_dice(programs, tmp_path):
  """CGQN and GQN are trained and scored, the first drawn from and turned."""
  runs = {name: tmp_path / name for name in ('cgqn', 'gqn')}
  commands = []
  for name, run in runs.items():
    workdir = f'--workdir={run}'
    config = f'--config=configs/dice.py:preset=smoke,model={name}'
    commands += [
      ['train.py', config, *_SHORT, *_NARROW, workdir],
      ['evaluate.py', workdir, '--num_scenes=2', '--num_samples=2',
       '--num_draws=1', '--batch_size=2'],
    ]  # fmt: skip
  run, workdir = runs['cgqn'], f'--workdir={runs["cgqn"]}'
  commands += [
    ['sample.py', workdir, '--scene=3', '--turntable=5', '--num_samples=2',
     f'--out={run}/turn.gif'],
    ['sample.py', workdir, '--scenes=3,1', '--queries=4,0', '--num_samples=1',
     f'--out={run}/drawn.npz'],
    ['sample.py', workdir, '--turntable=5', '--queries=1',
     f'--out={tmp_path}/none.gif'],
  ]  # fmt: skip
  *done, both = programs(commands)
  for ran in done:
    assert ran.code == 0, ran.err
  assert both.code == 1 and 'not both' in both.err
  for name in runs:
    scores = json.loads((runs[name] / 'eval' / 'metrics.json').read_text())
    assert scores['protocol']['hidden_frames'] == 3
    assert (
      scores['metrics']['kl_1'] > 0 and scores['metrics']['oracle_kl_1'] > 0
    )
  with Image.open(run / 'turn.gif') as film:
    assert film.n_frames == 5
  drawn = np.load(run / 'drawn.npz')
  assert drawn['samples'].shape == (1, 2, 2, 16, 16, 3)
  # Every scene has a context of its own, that of the tables.
  first, second = drawn['context'].tolist()
  assert len(first) == len(second) == 5 and first != second


def test_sequential(programs, tmp_path):
  """Frames in order in, any later frames out; nothing else."""
  workdir = f'--workdir={tmp_path / "sssm"}'
  out = f'--out={tmp_path / "drawn.npz"}'
  trained, drawn, scored, *refused = programs(
    [
      ['train.py', '--config=configs/narratives.py:preset=smoke,model=sssm',
       *_SHORT, workdir],
      ['sample.py', workdir, '--queries=20,7', '--num_samples=2', out],
      ['evaluate.py', workdir, '--num_scenes=2', '--num_samples=2',
       '--num_draws=1', '--batch_size=2'],
      ['sample.py', workdir, '--context=15,20', out],
      ['evaluate.py', workdir, '--context=0,2'],
    ]
  )  # fmt: skip
  for ran in (trained, drawn, scored):
    assert ran.code == 0, ran.err
  assert np.load(tmp_path / 'drawn.npz')['samples'].shape[:3] == (2, 1, 2)
  assert 'best of 1' in scored.out
  for ran, frames in zip(refused, ('15, 20', '0, 2'), strict=True):
    assert ran.code == 1
    (line,) = (x for x in ran.err.splitlines() if x.startswith('error'))
    assert f'the context is frames {frames}; cdna, sv2p and sssm read' in line
    assert 'for any other context use cgqn or gqn' in line
