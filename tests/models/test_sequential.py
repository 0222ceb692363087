"""What CDNA, SV2P and sSSM share: samples, bounds, losses, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cgqn_jax.config import WIDTHS
from cgqn_jax.models import sequential
from cgqn_jax.models.build import build
from cgqn_jax.models.cdna import CDNANetworks
from cgqn_jax.models.sssm import SSSMNetworks
from cgqn_jax.models.sv2p import SV2PNetworks
from cgqn_jax.types import Scene

KEY = jax.random.key(7)
CLOSE = {'rtol': 1e-4, 'atol': 1e-5}
FRAMES, CONTEXT = 7, 3


def make_model(name, frame_size=16, num_frames=FRAMES, width=0.125):
  """A model at the size of a table's row, or at a test's."""
  size = (frame_size, num_frames)
  if name == 'cdna':
    networks = CDNANetworks(*size, width, kernel_size=5, num_kernels=10)
  elif name == 'sv2p':
    latent = 1 if frame_size == 64 else 4
    networks = SV2PNetworks(*size, width, 5, 10, latent, time_variant=False)
  else:
    context, latent = (CONTEXT, 2) if frame_size < 32 else (6, 64)
    networks = SSSMNetworks(*size, context, width, latent)
  return sequential.Sequential(networks, optax.constant_schedule(0.5))


@pytest.fixture(scope='module')
def batch(make_video):
  return make_video(3, CONTEXT, FRAMES - CONTEXT)


@pytest.fixture(scope='module', params=['cdna', 'sv2p', 'sssm'])
def model(request):
  return make_model(request.param)


@pytest.fixture(scope='module')
def params(model, make_params):
  return make_params(model)


@pytest.fixture(scope='module')
def sample(model, params):
  """Samples, compiled once: keep the shapes as they are."""
  compiled = jax.jit(model.sample, static_argnames='num_samples')

  def run(batch, views=None, first_sample=0):
    return np.asarray(
      compiled(
        params,
        KEY,
        batch.context,
        batch.context_mask,
        batch.target.views if views is None else views,
        num_samples=2,
        example_id=batch.example_id,
        first_sample=first_sample,
      )
    )

  return run


@pytest.fixture(scope='module')
def frames(sample, batch):
  frames = sample(batch)
  assert frames.shape == (2, 3, FRAMES - CONTEXT, 16, 16, 3)
  assert frames.dtype == np.float32
  return frames


@pytest.fixture(scope='module')
def bound(model, params):
  """Reconstruction and bound."""

  @jax.jit
  def run(batch):
    mean = model.reconstruct(params, KEY, batch)
    return mean, model.elbo(params, KEY, batch, 0.5)

  return run


@pytest.fixture(scope='module')
def loss(model):
  return jax.jit(model.loss)


def test_queries_in_any_order_and_number(sample, batch, frames):
  order = [2, 0, 2, 1]
  drawn = sample(batch, batch.target.views[:, order])
  np.testing.assert_allclose(drawn, frames[:, :, order], **CLOSE)
  assert np.abs(frames[:, :, 2] - frames[:, :, 0]).max() > 1e-3
  # What was given needs no prediction.
  given, asked = batch.context.views, batch.target.views
  views = np.concatenate([asked[:, 3:], given[:, [2, 0, 1]]], axis=1)
  drawn = sample(batch, views)
  np.testing.assert_allclose(drawn[:, :, 0], frames[:, :, 3], **CLOSE)
  known = batch.context.frames[:, [2, 0, 1]] / np.float32(255)
  for one in drawn:
    np.testing.assert_allclose(one[:, 1:], known, **CLOSE)


def test_a_sample_is_the_same_in_any_batch_and_in_parts(
  model, sample, batch, frames
):
  drawn = sample(batch, first_sample=1)
  np.testing.assert_allclose(drawn[0], frames[1], **CLOSE)
  order = np.array([1, 2, 0])
  moved = sample(jax.tree.map(lambda x: x[order], batch))
  np.testing.assert_allclose(moved, frames[:, order], **CLOSE)
  others = sample(batch._replace(example_id=batch.example_id + 1))
  for difference in (drawn[0] - drawn[1], others - frames):
    if isinstance(model.networks, CDNANetworks):
      assert np.all(difference == 0)
    else:
      assert np.abs(difference).max() > 1e-4


def test_all_of_the_context_matters(sample, batch, frames):
  for frame in range(CONTEXT):
    changed = batch.context.frames.copy()
    changed[0, frame] = 255 - changed[0, frame]
    drawn = sample(batch._replace(context=Scene(changed, batch.context.views)))
    assert np.abs(drawn[:, 0] - frames[:, 0]).max() > 1e-5
    np.testing.assert_array_equal(drawn[:, 1:], frames[:, 1:])


def test_the_bound(model, params, batch, bound):
  """The reconstruction's density; later truth is never fed to a model."""
  mean, elbo = bound(batch)
  assert mean.shape == (3, FRAMES - CONTEXT, 16, 16, 3)
  squared = np.sum((batch.target.frames / 255 - mean) ** 2, (1, 2, 3, 4))
  size = (FRAMES - CONTEXT) * 16 * 16 * 3
  expected = -squared - size / 2 * np.log(np.pi)  # at a variance of 0.5
  np.testing.assert_allclose(elbo.log_likelihood, expected, rtol=1e-5)
  changed = batch.target.frames.copy()
  changed[:, -1] = 255 - changed[:, -1]
  other, other_elbo = bound(
    batch._replace(target=Scene(changed, batch.target.views))
  )
  if isinstance(model.networks, CDNANetworks):
    np.testing.assert_array_equal(elbo.kl, 0)
    np.testing.assert_array_equal(elbo.log_ratio, 0)
    np.testing.assert_array_equal(other, mean)
  else:
    assert np.all(elbo.kl > 1e-3) and np.all(other_elbo.kl != elbo.kl)
  if isinstance(model.networks, SSSMNetworks):
    # It filters: what comes later changes nothing before.
    np.testing.assert_allclose(other[:, :-1], mean[:, :-1], **CLOSE)
    assert np.abs(other[:, -1] - mean[:, -1]).max() > 1e-3


def test_truth_is_fed_as_the_stage_says(model, params, batch):
  """Latents from the prior, so that no truth comes in by another way."""
  if isinstance(model.networks, SSSMNetworks):
    pytest.skip('its states go on, not its frames')

  @jax.jit
  def roll(batch, truth):
    stage = sequential.Stage(truth, False)
    return model._bound(params, KEY, batch, stage=stage)[0]

  frames = batch.target.frames.copy()
  frames[:, 0] = 255 - frames[:, 0]
  changed = batch._replace(target=Scene(frames, batch.target.views))
  np.testing.assert_array_equal(roll(changed, 0.0), roll(batch, 0.0))
  difference = np.abs(roll(changed, 1.0) - roll(batch, 1.0)).max((0, 2, 3, 4))
  assert difference[0] == 0 and difference[1] > 1e-3
  assert sequential.EVALUATION == (0.0, True)
  # In training as scheduled.
  errors = []
  for truth in (0.0, 1.0):
    other = sequential.Sequential(
      model.networks,
      model.pixel_variance,
      truth=optax.constant_schedule(truth),
    )
    errors.append(jax.jit(other.loss)(params, KEY, batch, 0)[1]['mse'])
  assert abs(errors[0] - errors[1]) > 1e-5


def test_other_contexts_are_refused(model, params, batch):
  """Only of arrays: where views are traced, they cannot be looked at."""
  views = batch.context.views[:, ::-1]
  with pytest.raises(ValueError, match='frames 2, 1, 0; .*use cgqn or gqn'):
    model.sample(
      params,
      KEY,
      Scene(batch.context.frames, views),
      batch.context_mask,
      batch.target.views,
    )


def test_loss(model, params, batch, loss, cgqn_metrics):
  """The negative bound, metrics named as CGQN's, the mean of the scenes'."""
  value, metrics = loss(params, KEY, batch, 3)
  np.testing.assert_allclose(
    value, metrics['kl'] - metrics['log_likelihood'], rtol=1e-5
  )
  np.testing.assert_allclose(value, metrics['loss'], rtol=1e-6)
  assert set(metrics) == cgqn_metrics
  assert all(np.all(np.isfinite(x)) for x in metrics.values())
  # On any number of devices, since its noise is the scene's.
  each = []
  for row in np.eye(3, dtype=np.float32):
    alone, _ = loss(params, KEY, batch._replace(weight=row), 3)
    each.append(alone)
  np.testing.assert_allclose(value, np.mean(each), rtol=1e-5)
  order = np.array([1, 2, 0])
  moved = jax.tree.map(lambda x: x[order], batch)
  moved = moved._replace(weight=np.eye(3, dtype=np.float32)[0])
  alone, _ = loss(params, KEY, moved, 3)
  np.testing.assert_allclose(alone, each[1], rtol=1e-5)


@pytest.fixture(scope='module')
def cgqn_metrics(make_config, make_batch):
  model = build(make_config())
  shapes = jax.eval_shape(model.init, KEY)
  out = jax.eval_shape(model.loss, shapes, KEY, make_batch(), jnp.int32(3))
  return set(out[1])


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

  def count(width):
    model = make_model(name, frame_size, num_frames=21, width=width)
    shapes = jax.eval_shape(model.init, KEY)
    return sum(x.size for x in jax.tree.leaves(shapes))

  assert count(1.0) == EXACT[row]
  for (tier, width), size in zip(
    WIDTHS[row].items(), IN_TIERS[row], strict=True
  ):
    assert count(width) == size
    assert abs(size / TIERS[tier] - 1) < 0.02


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
    sequential.check_sequential(context, targets, FRAMES)
  assert '\n' not in str(error.value)


def test_what_they_can_do(batch):
  check = sequential.check_sequential
  check(batch.context.views, batch.target.views, FRAMES)
  check(times(0), times(1, 2, 3, 4, 5, 6), FRAMES)
  check(times(0, 1), times(6, 2, 0), FRAMES, queries=True)
  with pytest.raises(ValueError, match='context is frames 2'):
    check(times(2), times(6), FRAMES, queries=True)


def test_wrong_shapes_are_named(batch):
  model = make_model('cdna')
  params = jax.eval_shape(model.init, KEY)
  short = batch._replace(target=jax.tree.map(lambda x: x[:, 1:], batch.target))
  with pytest.raises(ValueError, match=r'target.frames .* \[3, 4, any'):
    jax.eval_shape(model.loss, params, KEY, short, 0)
