"""Rows and pictures, and their fate on resume."""

import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from cgqn_jax.training.metrics_log import Log, read_metrics


def read_events(workdir) -> list[Event]:
  """Parses TensorBoard's files: length, CRC, record, CRC."""
  events = []
  for path in sorted((workdir / 'tensorboard').glob('events*')):
    data, at = path.read_bytes(), 0
    while at < len(data):
      (length,) = struct.unpack_from('<Q', data, at)
      events.append(Event.FromString(data[at + 12 : at + 12 + length]))
      at += length + 16
  return events


def test_rows_and_tensorboard_hold_the_same_numbers(tmp_path):
  with Log(tmp_path) as log:
    log.scalars(
      1, {'loss': jnp.float32(0.1), 'kl': 2, 'kl_per_step': np.arange(2.0)}
    )
    text = (tmp_path / 'metrics.jsonl').read_text()  # before it is closed
    log.scalars(2, {'loss': np.nan, 'kl_per_step': [1.0, np.inf]})
    log.scalars(2, {'loss': 3.5}, split='validation')
  assert text == (
    '{"step": 1, "split": "train", "loss": 0.10000000149011612, "kl": 2, '
    '"kl_per_step": [0.0, 1.0]}\n'
  )
  rows = read_metrics(tmp_path)
  assert [r['step'] for r in rows] == [1, 2]
  assert rows[1]['loss'] is None and rows[1]['kl_per_step'] == [1.0, None]
  assert read_metrics(tmp_path, 'validation') == [
    {'step': 2, 'split': 'validation', 'loss': 3.5}
  ]
  values = {
    (event.step, value.tag): value.simple_value
    for event in read_events(tmp_path)
    for value in event.summary.value
  }
  assert values[1, 'train/loss'] == np.float32(0.1)
  assert values[1, 'train/kl_per_step/1'] == 1.0
  assert np.isnan(values[2, 'train/loss'])
  assert values[2, 'train/kl_per_step/1'] == np.inf
  assert values[2, 'validation/loss'] == 3.5
  assert len(values) == 8


def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path):
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  with Log(whole) as log:
    for step in range(1, 8):
      log.scalars(step, {'loss': step / 3})
  with Log(killed) as log:
    for step in range(1, 6):
      log.scalars(step, {'loss': step / 3})
  rows = killed / 'metrics.jsonl'
  rows.write_text(rows.read_text() + '{"step": 6, "spl')  # killed in a write
  with Log(killed, step=4) as log:
    for step in range(5, 8):
      log.scalars(step, {'loss': step / 3})
  assert rows.read_bytes() == (whole / 'metrics.jsonl').read_bytes()
  assert len(read_metrics(killed)) == 7
  purges = [e.step for e in read_events(killed) if e.HasField('session_log')]
  assert purges[-1] == 5  # the first is 1, in a file of another second
  rows.write_text('hello\n' + rows.read_text())
  with pytest.raises(ValueError, match=r'metrics.jsonl, line 1: not a row'):
    Log(killed, step=4)


def test_pictures_reach_the_folder_and_tensorboard(tmp_path):
  with Log(tmp_path) as log:
    log.image(3, 'sheet', np.full((5, 6, 3), 7, np.uint8))
  assert sorted(p.name for p in (tmp_path / 'images').iterdir()) == [
    'sheet_00000003.png',
  ]
  starts = {
    value.tag: value.image.encoded_image_string[:4]
    for event in read_events(tmp_path)
    for value in event.summary.value
  }
  assert starts == {'sheet': b'\x89PNG'}


def test_other_processes_write_nothing(tmp_path):
  with Log(tmp_path, write=False) as log:
    log.scalars(1, {'loss': 1.0})
    log.image(1, 'x', np.zeros((2, 2, 3)))
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(ValueError, match='nothing was logged there'):
    read_metrics(tmp_path)
