"""Processes that train together: what they must be told, and what is lost."""

import jax
from jax.errors import JaxRuntimeError
import pytest

from cgqn_jax.training import cluster


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (('node:1', None, None), '--num_processes and --process_id must be given'),
    ((None, 2, 0), '--coordinator must be given too'),
    (('node:1', 2, None), '--process_id must be given too'),
    (('node', 2, 0), "--coordinator is 'node'; it must be host:port"),
    (('node:', 2, 0), "--coordinator is 'node:'; it must be host:port"),
    (('http://node:1/x', 2, 0), 'it must be host:port of process 0'),
    (('node:1', 2, 2), '--process_id is 2; it must be 0 to 1'),
  ],
)
def test_what_is_incomplete_is_refused_at_once(given, message, monkeypatch):
  monkeypatch.delenv('JAX_COORDINATOR_ADDRESS', raising=False)
  monkeypatch.setattr(jax.distributed, 'initialize', pytest.fail)
  with pytest.raises(ValueError, match=message) as error:
    with cluster.joined(*given):
      pass
  assert '\n' not in str(error.value)


def test_what_is_said_where_there_is_no_cluster(monkeypatch):
  def alone(*_, **__):
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(jax.distributed, 'initialize', alone)
  with pytest.raises(ValueError, match='^--distributed: .* srun, mpirun or on'):
    with cluster.joined(None, None, None):
      pass


def test_a_process_leaves_at_once_after_an_error_of_its_own(monkeypatch):
  """Not where all have the same error, nor where there is none."""
  met, leaving = [], []
  monkeypatch.setattr(
    jax.distributed, 'initialize', lambda *given, **_: met.append(given)
  )
  monkeypatch.setattr(cluster.atexit, 'register', leaving.append)
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', 'node:1')
  with cluster.joined(None, 2, 0):
    pass
  with pytest.raises(FloatingPointError):
    with cluster.joined('node:1', 2, 0):
      raise FloatingPointError
  assert met == [(None, 2, 0), ('node:1', 2, 0)] and not leaving
  with pytest.raises(KeyError):
    with cluster.joined('node:1', 2, 0):
      raise KeyError
  assert len(leaving) == 1


def test_a_process_alone_loses_none(monkeypatch):
  cluster.wait('nobody', seconds=1)
  error = JaxRuntimeError('UNKNOWN: Connection reset by peer\nand more')
  wrapped = ValueError('could not be saved')
  wrapped.__cause__ = error
  assert cluster.lost(wrapped) is None
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  assert cluster.lost(ValueError('of its own')) is None
  text = cluster.lost(wrapped)
  assert 'process of this training has ended (UNKNOWN: Connection reset' in text
  assert '\n' not in text and 'start all of them again' in text
