"""Sizes of the sequential models, what they refuse, and how they train."""

import jax
import numpy as np
import optax
import pytest

from cgqn_jax.config import WIDTHS
from cgqn_jax.models.sequential import check_sequential
from tests.models.sequential_models import (
  CONTEXT,
  FRAMES,
  NAMES,
  make_model,
)

KEY = jax.random.key(7)


@pytest.fixture(scope='module')
def batch(make_video):
  return make_video(3, CONTEXT, FRAMES - CONTEXT)


def count_parameters(name, **fields):
  model = make_model(name, **fields)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  return sum(x.size for x in jax.tree.leaves(shapes))


EXACT = {
  ('cdna', 64): 8_311_337,
  ('cdna', 32): 6_775_337,
  ('sv2p', 64): 8_386_475,
  ('sv2p', 32): 6_854_129,
  ('sssm', 64): 639_856,
  ('sssm', 32): 632_332,
}
TIERS = {'S': 1_051_207, 'M': 3_963_815, 'L': 8_752_391}
IN_TIERS = {
  ('cdna', 64): (1_058_133, 3_922_647, 8_716_845),
  ('cdna', 32): (1_036_411, 3_977_955, 8_799_911),
  ('sv2p', 64): (1_067_357, 3_958_535, 8_794_949),
  ('sv2p', 32): (1_049_953, 3_957_177, 8_707_657),
  ('sssm', 64): (1_050_794, 3_961_246, 8_804_406),
  ('sssm', 32): (1_049_630, 3_941_482, 8_774_490),
}


@pytest.mark.parametrize('row', EXACT, ids=str)
def test_number_of_parameters(row):
  """At the authors' size, and matched to CGQN's in each tier."""
  name, frame_size = row
  size = {'frame_size': frame_size, 'num_frames': 21}
  assert count_parameters(name, width=1.0, **size) == EXACT[row]
  for (tier, width), count in zip(
    WIDTHS[row].items(), IN_TIERS[row], strict=True
  ):
    assert count_parameters(name, width=width, **size) == count
    assert abs(count / TIERS[tier] - 1) < 0.02


def times(*frames, count=FRAMES):
  return np.array(frames, np.float32)[None, :, None] / (count - 1)


@pytest.mark.parametrize(
  ('context', 'targets', 'message'),
  [
    (times(0, 1, 2), times(3, 5), r'frames 3, 5; .* 3 to 6 in order.*gqn'),
    (times(0, 1), times(3, 4, 5, 6), r'frames 3, 4, 5, 6; .* 2 to 6'),
    (times(1, 0), times(2, 3, 4, 5, 6), r'frames 1, 0; .*use cgqn or gqn'),
    (times(0, 3), times(1, 2), r'context is frames 0, 3; cdna, sv2p and sssm'),
    (times(4, 5, 6), times(3, 2), r'context is frames 4, 5, 6'),
    (np.zeros((1, 0, 1)), times(*range(7)), 'context is empty; .* frame 0'),
    (times(0), times(1.5), r'timestamp 0.25; .* multiples of 1/6'),
    (times(0), times(7), r'timestamp 1.16667; .* 7 frames'),
    (np.zeros((1, 2, 7)), times(2), '7 numbers each; .*cameras'),
  ],
)
def test_what_they_cannot_do(context, targets, message):
  with pytest.raises(ValueError, match=message) as error:
    check_sequential(context, targets, FRAMES)
  assert '\n' not in str(error.value)


def test_what_they_can_do(batch):
  check = check_sequential
  check(batch.context.views, batch.target.views, FRAMES)
  check(times(0), times(1, 2, 3, 4, 5, 6), FRAMES)
  check(times(0, 1), times(6, 2, 0), FRAMES, queries=True)
  with pytest.raises(ValueError, match='context is frames 2'):
    check(times(2), times(6), FRAMES, queries=True)


def test_wrong_shapes_are_named(batch):
  model = make_model('cdna')
  params = jax.eval_shape(model.init, KEY)
  short = batch._replace(target=jax.tree.map(lambda x: x[:, 1:], batch.target))
  with pytest.raises(AssertionError, match='7'):
    jax.eval_shape(model.loss, params, KEY, short, 0)


def train(params, gradient, batch, num_steps, learning_rate=1e-3):
  """Adam on one batch; parameters and the errors of all updates."""
  schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

  @jax.jit
  def apply(grads, state, params):
    with jax.numpy_dtype_promotion('standard'):
      updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  state, errors = optimizer.init(params), []
  for step in range(num_steps):
    (_, metrics), grads = gradient(params, KEY, batch, step)
    params, state = apply(grads, state, params)
    errors.append(float(metrics['mse']))
  return params, errors


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_training_lowers_the_error(name, batch):
  """A dozen updates on noise: towards its mean, at least."""
  model = make_model(name)
  gradient = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
  _, errors = train(model.init(KEY), gradient, batch, 12, 1e-2)
  assert np.mean(errors[-3:]) < 0.95 * np.mean(errors[:3])
