"""jump.py and the figure of what it measures."""

import json

from cgqn_jax.benchmark import jump

_CONFIG = '--config=configs/comparison.py:preset=smoke'


def test_measured_and_drawn(programs, tmp_path):
  path = tmp_path / 'made' / 'jump.jsonl'
  flags = ['--frames=8,6', '--repeats=2', f'--out={path}']
  out = f'--out={tmp_path}'
  compared = '--config.compared=cgqn,sssm'
  measured, drawn = programs(
    [
      ['jump.py', _CONFIG, compared, *flags],
      ['figures.py', f'--jump={path}', out, '--only=jump'],
    ]
  )
  assert measured.code == 0, measured.err
  assert '2/2' in measured.err  # rounds
  rows = jump.load(path)
  assert [row['model'] for row in rows] == ['cgqn'] * 4 + ['sssm'] * 4
  assert [row['frame'] for row in rows[:4]] == [6, 6, 8, 8]
  assert drawn.code == 0, drawn.err
  assert (tmp_path / 'jump.png').exists()
  numbers = json.loads((tmp_path / 'jump.json').read_text())
  assert list(numbers['modes']['all']) == ['cgqn', 'sssm']
  assert 'too few timings' in (tmp_path / 'jump.md').read_text()


def test_mistakes(programs, tmp_path):
  out = f'--out={tmp_path / "none.jsonl"}'
  cases = [
    (['jump.py', _CONFIG, out, '--frames=6,x'], '--frames=6,x'),
    (['jump.py', _CONFIG, out, '--frames=4,8'], 'from 6 on'),
    (['jump.py', _CONFIG, out, '--config.foo=3'], 'no field foo'),
    (['jump.py', _CONFIG, out, '--config.overrides=foo=3'], 'no field foo'),
    (['jump.py', _CONFIG, out, '--config.base=none.py'], 'none.py'),
    (['jump.py', _CONFIG, f'--out={tmp_path}'], 'is a folder'),
    (['jump.py', '--config=configs/dice.py', out], 'no experiment'),
    (['jump.py', '--config=configs/dice_comparison.py:preset=smoke', out],
     'no timestamps'),
    (['figures.py', f'--jump={tmp_path / "none.jsonl"}', '--out=none'],
     'none.jsonl'),
    (['figures.py', '--workdirs=cgqn=none', '--only=jump', '--out=none'],
     '--jump'),
  ]  # fmt: skip
  results = programs([case for case, _ in cases])
  for (case, message), done in zip(cases, results, strict=True):
    assert done.code == 1 and 'Traceback' not in done.err, (case, done)
    assert message in done.out + done.err, (case, done)
  assert not list(tmp_path.iterdir())
