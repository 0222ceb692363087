"""Optimiser, training state and the update (paper, section 3.3, appendix B).

The update is pure: (state, batch) -> (state, metrics), the same on one device
and on many. A loss or gradient that is not finite leaves the parameters as
they are and is counted.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import optax

from cgqn_jax import objective
from cgqn_jax.parallel import AXIS
from cgqn_jax.types import Array, Batch, Params, TrainState

Update = Callable[..., tuple[TrainState, dict[str, Any]]]


def make_optimizer(config: ConfigDict) -> optax.GradientTransformation:
  """Adam behind a global-norm clip, skipping updates that are not finite."""
  options = config.optimizer
  learning_rate = objective.schedule(
    num_steps=config.num_steps, **dict(config.learning_rate)
  )
  adam = optax.chain(
    optax.clip_by_global_norm(options.clip_norm),
    optax.adam(learning_rate, options.b1, options.b2, options.eps),
  )
  # The trainer stops a run after a row of them (config.max_skipped_in_a_row);
  # never may one be applied, hence a limit that no run reaches.
  return optax.apply_if_finite(adam, max_consecutive_errors=2**30)


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
      ema_params = optax.incremental_update(
        params, ema_params, 1 - config.ema_decay
      )
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
      return jax.lax.map(lambda its: update(*its), (states, batches, every))
    return jax.vmap(update)(states, batches, every)

  return updates
