"""Devices and processes: the only file that names them.

The update is a pure function of one device's share that knows the name of an
axis, `AXIS`; `over_devices` maps it with pmap over all devices of all
processes. State goes in and comes out whole, without a device axis.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

AXIS = 'devices'


def over_devices(update: Callable) -> Callable:
  """Compiles update(state, batch) -> (state, metrics) over all devices.

  The batch carries a leading axis of local devices (`shard`); state and
  metrics must come out equal on every device, that is, after a `pmean`.
  The state passed in is donated.
  """
  return jax.pmap(
    update,
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None),
    donate_argnums=0,
  )


def shard(batch: Any) -> Any:
  """[B, ...] of this process -> [local devices, B / local devices, ...]."""
  devices = jax.local_device_count()
  return jax.tree.map(lambda x: x.reshape((devices, -1) + x.shape[1:]), batch)


def shard_seeds(batches: Sequence[Any]) -> Any:
  """A batch [B, ...] of each seed -> [local devices, S, B / devices, ...]."""
  shares = [shard(batch) for batch in batches]
  if len(shares) == 1:
    return jax.tree.map(lambda x: x[:, None], shares[0])
  return jax.tree.map(lambda *x: np.stack(x, axis=1), *shares)


def replicate(tree: Any) -> Any:
  """Places what every device needs as `over_devices` gives it back.

  So that the second update does not compile again.
  """
  mesh = Mesh(np.array(jax.devices()), (AXIS,))
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def check_batch_size(batch_size: int) -> None:
  """ValueError unless the global batch divides by the devices."""
  devices = jax.device_count()
  if batch_size < 1 or batch_size % devices:
    raise ValueError(
      f'batch_size is {batch_size}; it must be a multiple of the '
      f'{devices} devices: try --config.batch_size='
      f'{max(devices, batch_size // devices * devices)}'
    )


def is_first_process() -> bool:
  """Whether this process writes what all share."""
  return jax.process_index() == 0
