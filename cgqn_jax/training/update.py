"""Optimiser, training state and the update (paper, section 3.3, appendix B).

The update is a pure function of one device's share of the batch: (state, batch)
-> (state, metrics). It knows the name of an axis, `AXIS`; `over_devices` maps
it with pmap over all devices of all processes. State goes in and comes out
whole, without a device axis. A loss or gradient that is not finite leaves the
parameters as they are and is counted.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
import numpy as np
import optax
from optax import contrib

from cgqn_jax.models import schedules
from cgqn_jax.types import Array, Batch, Params

AXIS = 'devices'
_MUON_SIZE = 100_000  # numbers of the largest matrix that Muon takes


class TrainState(NamedTuple):
  """All that training remembers: no random key, no iterator position.

  step: int32 [], updates made, skipped ones too.
  ema_params: None when averaging is off.
  """

  step: Array
  params: Params
  opt_state: Any
  ema_params: Params | None


Update = Callable[..., tuple[TrainState, dict[str, Any]]]


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
  """Adam or Muon behind a global-norm clip; skips what is not finite."""
  options = config.optimizer
  learning_rate = schedules.schedule(
    num_steps=config.num_steps, **dict(config.learning_rate)
  )
  if options.name == 'adam':
    rule = optax.adam(learning_rate, options.b1, options.b2, options.eps)
  else:
    rule = _muon(learning_rate, options)
  clipped = optax.chain(optax.clip_by_global_norm(options.clip_norm), rule)
  # The trainer stops after config.max_skipped_in_a_row of them. None may ever
  # be applied, so this limit is out of reach.
  return optax.apply_if_finite(clipped, max_consecutive_errors=2**30)


def _muon(
  learning_rate: optax.Schedule, options: ConfigDict
) -> optax.GradientTransformation:
  """Muon for kernels; for all else Adam, with Nesterov, at a fifth of the rate.

  A kernel of k x k is a matrix [k k I, O]. Those of more than _MUON_SIZE
  numbers, or with a side of at most 8, are Adam's: to make them orthogonal
  would cost as much as the gradient.
  """

  def dimensions(x: Array) -> contrib.MuonDimensionNumbers | None:
    if x.ndim not in (2, 4) or x.size > _MUON_SIZE:
      return None
    if min(x.size // max(x.shape[-1], 1), x.shape[-1]) <= 8:
      return None
    return contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1)

  return contrib.muon(
    learning_rate,
    muon_weight_dimension_numbers=lambda params: jax.tree.map(
      dimensions, params
    ),
    adam_b1=options.b1,
    adam_b2=options.b2,
    eps=options.eps,
    adam_learning_rate=lambda step: 0.2 * learning_rate(step),
  )


def create_state(model: Any, config: ConfigDict) -> TrainState:
  """The state before the first update, from config.seed."""
  params = model.init(jax.random.key(config.seed))
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=make_optimizer(config).init(params),
    ema_params=jax.tree.map(jnp.copy, params) if config.ema_decay else None,
  )


def evaluation_params(state: TrainState) -> Params:
  """The averaged parameters where they are kept, else the current ones."""
  return state.params if state.ema_params is None else state.ema_params


def noise_key(seed: Array | int) -> Array:
  """The key of the noise of training; fold in the step, then the example."""
  return jax.random.fold_in(jax.random.key(seed), 1)


def make_update(model: Any, config: ConfigDict) -> Update:
  """update(state, batch) -> (state, metrics) of one device.

  To be mapped over an axis named `AXIS`. A third argument is the seed of the
  noise, config.seed by default; nothing else of a run depends on it here.
  """
  optimizer = make_optimizer(config)

  def update(
    state: TrainState, batch: Batch, seed: Array | int = config.seed
  ) -> tuple[TrainState, dict[str, Any]]:
    key = noise_key(seed)
    grad = jax.value_and_grad(model.loss, has_aux=True)
    (loss, metrics), grads = grad(state.params, key, batch, state.step)
    grads, metrics = jax.lax.pmean((grads, metrics), AXIS)
    # A loss that is not finite must not pass either, even if its gradient is.
    poison = jnp.where(jnp.isfinite(metrics['loss']), 0.0, jnp.nan)
    grads = jax.tree.map(lambda g: g + poison, grads)
    # Adam's bias correction raises a Python float to an integer count.
    with jax.numpy_dtype_promotion('standard'):
      updates, opt_state = optimizer.update(
        grads, state.opt_state, state.params
      )
    params = optax.apply_updates(state.params, updates)
    ema_params = state.ema_params
    if ema_params is not None:
      # Faster at first, or fresh parameters would stay in it for thousands.
      step_now = state.step.astype(jnp.float32)
      weight = jnp.maximum(1 - config.ema_decay, 9 / (10 + step_now))
      ema_params = optax.incremental_update(params, ema_params, weight)
    metrics = metrics | {
      'gradient_norm': optax.tree.norm(grads),
      'update_norm': optax.tree.norm(updates),
      'parameter_norm': optax.tree.norm(params),
      'skipped': opt_state.total_notfinite,
      'skipped_in_a_row': opt_state.notfinite_count,
    }
    return TrainState(state.step + 1, params, opt_state, ema_params), metrics

  return update


def over_seeds(update: Update, seeds: Sequence[int]) -> Update:
  """The updates of runs that differ in their seed alone, as one.

  State, batch and metrics carry a leading axis of seeds. Accelerators do all
  at once: an update of small networks leaves them idle. CPUs do one after the
  other, for there the gradient of a batch of kernels is slow (docs/speed.md).
  """
  every = jnp.array(seeds, jnp.int32)

  def updates(
    states: TrainState, batches: Batch
  ) -> tuple[TrainState, dict[str, Any]]:
    if len(seeds) == 1:
      alone = jax.tree.map(lambda x: x[0], (states, batches))
      return jax.tree.map(lambda x: x[None], update(*alone, seeds[0]))
    if jax.default_backend() == 'cpu':
      return jax.lax.map(lambda run: update(*run), (states, batches, every))
    return jax.vmap(update)(states, batches, every)

  return updates


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
  return jax.tree.map(lambda *x: np.stack(x, axis=1), *map(shard, batches))


def replicate(tree: Any) -> Any:
  """Places what every device needs as `over_devices` gives it back.

  So that the second update does not compile again.
  """
  mesh = Mesh(np.array(jax.devices()), (AXIS,))
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def check_batch_size(batch_size: int) -> None:
  """ValueError unless the global batch divides by the devices."""
  devices = jax.device_count()
  if batch_size % devices:
    use = max(n for n in range(1, devices) if batch_size % n == 0)
    raise ValueError(
      f'batch_size is {batch_size}; it must be a multiple of the {devices} '
      f'devices. A new run may have --config.batch_size='
      f'{max(devices, batch_size // devices * devices)}; one that is resumed '
      f'keeps its own, on {use} devices or another divisor of it '
      '(CUDA_VISIBLE_DEVICES hides the others)'
    )
