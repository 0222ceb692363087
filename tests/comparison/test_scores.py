"""What an evaluation leaves, whatever becomes of its files."""

import errno
import types

import numpy as np
import pytest

from cgqn_jax import images
from cgqn_jax.comparison import scores
from cgqn_jax.evaluation import tasks
from cgqn_jax.evaluation.subject import Subject
from cgqn_jax.files import read_json, read_npz, write_json

PROTOCOL = {'split': 'test', 'step': 3}


@pytest.fixture
def subject(monkeypatch):
  """One whose evaluation takes no time; `evaluated` counts."""
  found = types.SimpleNamespace(
    metrics={'kl': 2.5},
    per_scene={'kl': np.array([2.0, 3.0])},
    sheet=np.zeros((2, 2, 3), np.uint8),
  )
  task = types.SimpleNamespace(
    evaluate=lambda subject: found,
    report=lambda metrics, protocol: f'KL {metrics["kl"]}',
  )
  monkeypatch.setattr(tasks, 'for_config', lambda config: task)
  monkeypatch.setattr(scores, 'versions', dict)
  return Subject(None, None, None, None, PROTOCOL)


def test_the_table_is_printed_before_it_is_written(
  subject, tmp_path, monkeypatch, capsys
):
  scores.evaluate(subject, tmp_path / 'eval')
  assert capsys.readouterr().out.startswith('KL 2.5\n\nwrote ')
  assert read_npz(tmp_path / 'eval' / 'per_scene.npz')['kl'].tolist() == [2, 3]

  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(images, 'save_png', full)
  with pytest.raises(OSError):
    scores.evaluate(subject, tmp_path / 'eval', overwrite=True)
  assert capsys.readouterr().out == 'KL 2.5\n'
  assert read_json(tmp_path / 'eval' / 'metrics.json')['metrics'] == {'kl': 2.5}


def test_a_place_that_cannot_be_written_costs_no_evaluation(
  subject, tmp_path, monkeypatch
):
  (tmp_path / 'file').write_text('mine')
  monkeypatch.setattr(tasks.for_config(None), 'evaluate', None)
  with pytest.raises(ValueError, match='file is a file, not a folder'):
    scores.evaluate(subject, tmp_path / 'file' / 'eval')


@pytest.mark.parametrize(
  'value',
  [[], {}, {'protocol': PROTOCOL}, {'protocol': PROTOCOL, 'metrics': 3}],
)
def test_a_table_of_another_form_is_named(subject, tmp_path, value):
  scores.evaluate(subject, tmp_path)
  write_json(tmp_path / 'metrics.json', value)
  with pytest.raises(ValueError, match='metrics.json is not of the form.*over'):
    scores.evaluate(subject, tmp_path)
  scores.evaluate(subject, tmp_path, overwrite=True)
  assert read_json(tmp_path / 'metrics.json')['metrics'] == {'kl': 2.5}
