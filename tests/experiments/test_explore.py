"""explore.py: a page of the samples that sample.py draws."""

import numpy as np

from tests.figures import page_files


def test_page_has_the_samples(finished, programs, tmp_path):
  workdir, out = f'--workdir={finished}', tmp_path / 'look.html'
  flags = ['--context=0,5', '--scenes=1,3', '--seed=3', '--num_samples=2']
  arrays, done, again, own = programs(
    [
      ['sample.py', workdir, *flags, f'--out={tmp_path / "a.npz"}'],
      ['explore.py', workdir, *flags, f'--out={out}'],
      ['explore.py', workdir, *flags, f'--out={out}'],  # its own page
      ['explore.py', workdir, '--azimuths=5', f'--out={tmp_path / "x.html"}'],
    ]
  )
  for ran in (arrays, done, again):
    assert ran.code == 0, ran.err
  assert '2 scene(s), 2 samples each' in done.out
  assert f'open {out} in a browser' in done.out
  assert own.code == 1 and 'views all around need rooms with cameras' in own.err
  assert not (tmp_path / 'x.html').exists()
  page = out.read_text('utf-8')
  assert len(page.encode()) < 10**7 and '://' not in page
  data = page_files.read_page(page)
  drawn = np.load(tmp_path / 'a.npz')
  assert [scene['label'] for scene in data['scenes']] == ['1', '3']
  for number, scene in enumerate(data['scenes']):
    truth, samples = page_files.frames_of(data, scene)
    np.testing.assert_array_equal(truth, drawn['truth'][number])
    expected = drawn['samples'][:, number] * 255
    # Half of a byte, and the last digits of another batch.
    assert np.abs(samples - expected).max() < 0.51
    np.testing.assert_array_equal(
      page_files.context_of(data, scene), truth[[0, 5]]
    )
    assert scene['seen'] == ['F1', 'F6'] and scene['places'] == [0, 5]
    assert np.flatnonzero(np.logical_not(scene['hidden'])).tolist() == [0, 5]
  protocol = dict(data['protocol'])
  assert protocol['Weights'] == f'{finished.name}, update 12'
  assert protocol['Seen'] == 'F1, F6, of F1 to F21'
  assert protocol['Samples'].startswith('2 of each scene')
  assert protocol['Seed'] == '3' and protocol['Scenes'] == '1, 3'
  assert 'narratives/traveling_salesman, test split' in protocol['Data']
  assert 'this context of 2 is outside of that' in protocol['Note']
