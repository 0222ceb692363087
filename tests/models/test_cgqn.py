"""CGQN: one latent per scene, whatever is seen and asked, in any batch.

Of the paper's networks and of the residual ones.
"""

import jax
import numpy as np
import pytest
from scipy import stats

from cgqn_jax.config import NETWORKS
from cgqn_jax.models.build import build
from cgqn_jax.models.cgqn import Latent
from cgqn_jax.types import Scene

KEY = jax.random.key(7)
# Loss and KL.
GOLDEN = {'draw': (3500.82495, 0.5809236), 'residual': (2986.7756, 37.981403)}
CLOSE = {'rtol': 1e-5, 'atol': 1e-5}
# Of two samples of three scenes: K, h, w, Z; of the residual ones also K, G.
LATENTS = {
  'draw': [(2, 3, 2, 2, 2, 2)],
  'residual': [(2, 3, 2, 4, 4, 2), (2, 3, 2, 3)],
}


@pytest.fixture(scope='module', params=NETWORKS)
def family(request):
  return request.param


@pytest.fixture(scope='module')
def model(family, make_config):
  return build(make_config(f'networks={family}'))


@pytest.fixture(scope='module')
def params(model, make_params):
  return make_params(model)


@pytest.fixture(scope='module')
def batch(make_batch):
  """3 scenes, 4 context frames of which the last of scene 0 is padding."""
  batch = make_batch()
  batch.context_mask[0, 3] = False
  return batch


@pytest.fixture(scope='module')
def sample(model, params):
  """Samples of a batch, compiled once a shape: [S, B, T, H, W, 3]."""
  compiled = jax.jit(model.sample, static_argnames='num_samples')

  def run(batch, num_samples=2, first_sample=0, views=None):
    return np.asarray(
      compiled(
        params,
        KEY,
        batch.context,
        batch.context_mask,
        batch.target.views if views is None else views,
        num_samples=num_samples,
        example_id=batch.example_id,
        first_sample=first_sample,
      )
    )

  return run


@pytest.fixture(scope='module')
def frames(sample, batch):
  frames = sample(batch)
  assert frames.shape == (2, 3, 3, 16, 16, 3) and frames.dtype == np.float32
  return frames


@pytest.fixture(scope='module')
def elbo(model):
  return jax.jit(model.elbo)


@pytest.fixture(scope='module')
def loss(model):
  return jax.jit(model.loss)


def shapes(latent):
  return [x.shape for x in jax.tree.leaves(latent)]


def reordered(scene: Scene, order) -> Scene:
  return Scene(scene.frames[:, order], scene.views[:, order])


def test_order_of_the_context_does_not_matter(sample, batch, frames):
  order = [2, 3, 0, 1]
  moved = batch._replace(
    context=reordered(batch.context, order),
    context_mask=batch.context_mask[:, order],
  )
  np.testing.assert_allclose(sample(moved), frames, **CLOSE)
  # A frame with the time of another is another context.
  swapped = Scene(batch.context.frames[:, order], batch.context.views)
  difference = np.abs(sample(batch._replace(context=swapped)) - frames)
  assert difference[:, 1:].max() > 1e-3


def test_padding_is_not_looked_at(sample, batch, frames):
  def changed(scene: int):
    junk = jax.tree.map(np.copy, batch.context)
    junk.frames[scene, 3] = 255 - junk.frames[scene, 3]
    junk.views[scene, 3] = 5
    return sample(batch._replace(context=junk))

  np.testing.assert_array_equal(changed(0), frames)  # scene 0's is padding
  difference = np.abs(changed(1) - frames).max((0, 2, 3, 4, 5))
  assert difference[1] > 1e-2 and difference[0] == difference[2] == 0


def test_no_context_at_all_is_legal(sample, batch, frames):
  nothing = batch._replace(context_mask=np.zeros((3, 4), bool))
  drawn = sample(nothing)
  assert np.isfinite(drawn).all()
  assert np.abs(drawn - frames).max() > 1e-2
  # Nor is anything but the noise left to tell two scenes apart.
  ids = np.array([5, 5, 6], np.int32)
  views = np.broadcast_to(batch.target.views[:1], (3, 3, 1))
  drawn = sample(nothing._replace(example_id=ids), views=views)
  np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
  assert np.abs(drawn[:, 0] - drawn[:, 2]).max() > 1e-2


def test_all_targets_of_a_sample_share_one_latent(sample, batch, frames):
  """The same view twice gives the same frame: a latent per target would not."""
  views = np.repeat(batch.target.views[:, :1], 3, axis=1)
  same = sample(batch, views=views)
  np.testing.assert_allclose(same[:, :, 1:], same[:, :, [0, 0]], **CLOSE)
  np.testing.assert_allclose(same[:, :, 0], frames[:, :, 0], **CLOSE)
  assert np.abs(same[0] - same[1]).max() > 1e-2  # samples do differ
  assert np.abs(frames[:, :, 0] - frames[:, :, 1]).max() > 1e-3  # and views


@pytest.mark.parametrize('chosen', [[2, 0, 1], [1]])
def test_a_query_does_not_depend_on_the_others(sample, batch, frames, chosen):
  drawn = sample(batch, views=batch.target.views[:, chosen])
  np.testing.assert_allclose(drawn, frames[:, :, chosen], **CLOSE)


def test_a_sample_is_the_same_in_any_batch_and_in_parts(sample, batch, frames):
  alone = jax.tree.map(lambda x: x[2:], batch)
  for number in (0, 1):
    drawn = sample(alone, num_samples=1, first_sample=number)
    np.testing.assert_allclose(drawn[0, 0], frames[number, 2], **CLOSE)
  order = np.array([1, 2, 0])
  moved = sample(jax.tree.map(lambda x: x[order], batch))
  np.testing.assert_allclose(moved, frames[:, order], **CLOSE)
  other = sample(batch._replace(example_id=batch.example_id + 1))
  assert np.abs(other - frames).max() > 1e-2


def test_parts_compose_to_a_sample(family, model, params, batch, frames):
  r = jax.jit(model.encode)(params, batch.context, batch.context_mask)
  assert r.shape == (3, 4, 4, 6 if family == 'draw' else 8)
  prior = jax.jit(model.prior, static_argnames='num_samples')
  latent = prior(params, KEY, r, num_samples=2, example_id=batch.example_id)
  assert shapes(latent.z) == LATENTS[family] and latent.r.shape == r.shape
  rendered = jax.jit(model.render)(params, latent, batch.target.views)
  np.testing.assert_allclose(rendered, frames, **CLOSE)


def test_posterior(family, model, params, batch, elbo):
  """Its divergence is positive and the bound's; its latents are rendered."""

  @jax.jit
  def run(params, batch):
    r = model.encode(params, batch.context, batch.context_mask)
    r_target = model.encode(params, batch.target, batch.target_mask)
    latent, kl = model.posterior(params, KEY, r, r_target, 2, batch.example_id)
    frames = model.render(params, latent, batch.target.views)
    return latent, kl, frames, model.reconstruct(params, KEY, batch)

  latent, kl, frames, reconstruction = run(params, batch)
  assert shapes(latent.z) == LATENTS[family] and kl.shape == (2, 3)
  assert np.all(kl > 0.1)
  bound = elbo(params, KEY, batch, 0.5)
  np.testing.assert_allclose(kl[0], bound.kl, **CLOSE)
  np.testing.assert_allclose(frames[0], reconstruction, **CLOSE)
  logs = stats.norm.logpdf(
    batch.target.frames / 255, reconstruction, np.sqrt(0.5)
  )
  np.testing.assert_allclose(
    bound.log_likelihood, logs.sum((1, 2, 3, 4)), rtol=1e-5
  )


def test_log_ratio_is_the_divergence_in_the_mean(model, params, make_batch):
  """Over 1024 copies of one scene, each with noise of its own."""
  copies = jax.tree.map(
    lambda x: np.repeat(x, 1024, axis=0), make_batch(1, 2, 2)
  )
  copies = copies._replace(example_id=np.arange(1024, dtype=np.int32))
  bound = jax.jit(model.elbo)(params, KEY, copies, 0.5)
  difference = np.asarray(bound.log_ratio - bound.kl)
  error = difference.std() / 32
  assert 0.01 < error < 0.1 * bound.kl.mean()
  assert abs(difference.mean()) < 4 * error


def test_loss_is_the_negative_bound(family, params, batch, loss, elbo):
  """In nats per scene, with all constants, at the variance of the step.

  With as much of the KL as is charged: of the paper's networks all.
  """
  for step in (0, 3):
    value, metrics = loss(params, KEY, batch, step)
    variance = 2.0 - 1.5 * step / 5  # 100,000 of 400,000 is 5 of 20
    bound = elbo(params, jax.random.fold_in(KEY, step), batch, variance)
    weight = 1.0 if family == 'draw' else 0.2 + 0.8 * step / 5
    expected = np.mean(weight * bound.kl - bound.log_likelihood)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(
      -metrics['log_likelihood'] + weight * metrics['kl'], value, rtol=1e-5
    )
    np.testing.assert_allclose(metrics['pixel_variance'], variance, rtol=1e-5)


def test_golden_loss(family, params, batch, loss):
  """Held since they were made; a change of it changes every result."""
  value, metrics = loss(params, KEY, batch, 3)
  golden_loss, golden_kl = GOLDEN[family]
  np.testing.assert_allclose(value, golden_loss, rtol=1e-5)
  np.testing.assert_allclose(metrics['kl'], golden_kl, rtol=1e-4)


def test_golden_loss_of_a_vector_read_as_numbers(
  make_config, make_params, batch
):
  """Without codes and finer stage the residual networks are what they were."""
  config = make_config('networks=residual')
  config.model.codes = config.model.fine = 0
  model = build(config)
  params = make_params(model)
  assert not any(name.startswith('vector_codes') for name in params['latent'])
  value, metrics = jax.jit(model.loss)(params, KEY, batch, 3)
  np.testing.assert_allclose(value, 3391.501, rtol=1e-5)
  np.testing.assert_allclose(metrics['kl'], 32.402523, rtol=1e-4)


def test_padded_targets_and_scenes_change_nothing(params, batch, loss):
  """The loss of 2 scenes with 2 targets, inside of 3 scenes with 3."""
  few = jax.tree.map(np.copy, batch)
  few.target_mask[:, 2] = False
  few.weight[2] = 0
  few.target.frames[2] = 9
  value, metrics = loss(params, KEY, few, 3)
  few.target.frames[:, 2] = 77
  np.testing.assert_array_equal(loss(params, KEY, few, 3)[0], value)
  small = jax.tree.map(lambda x: x[:2], batch)
  small = small._replace(
    target=reordered(small.target, [0, 1]), target_mask=np.ones((2, 2), bool)
  )
  expected, alone = loss(params, KEY, small, 3)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(metrics['kl'], alone['kl'], rtol=1e-4)
  assert abs(value - loss(params, KEY, batch, 3)[0]) > 1


def test_noise_is_of_the_step_and_the_example(params, batch, loss):
  kl = loss(params, KEY, batch, 3)[1]['kl']
  assert loss(params, KEY, batch, 3)[1]['kl'] == kl
  others = batch._replace(example_id=batch.example_id + 1)
  assert loss(params, KEY, batch, 4)[1]['kl'] != kl
  assert loss(params, KEY, others, 3)[1]['kl'] != kl


@pytest.mark.parametrize('per_step', [False, True])
@pytest.mark.parametrize('context', [False, True])
def test_variants(make_config, make_params, batch, per_step, context):
  """What the renderer is fed: all of z or a step's, the context or not."""
  config = make_config(z_per_step=per_step, renderer_sees_context=context)
  model = build(config)
  params = make_params(model)
  # Z features (times K), the projected context, and the timestamp.
  fed = 2 * (1 if per_step else 2) + 5 * context + 1
  assert params['renderer']['lstm']['kernel'].shape == (3, 3, fed + 9, 16)

  rng = np.random.default_rng(3)
  z = rng.standard_normal((1, 3, 2, 2, 2, 2)).astype(np.float32)

  @jax.jit
  def run(params, z, context, mask):
    r = model.encode(params, context, mask)
    return model.render(params, Latent(z, r), batch.target.views)

  def changed(z, mask):
    frames = run(params, z, batch.context, mask)
    return np.abs(frames - plain).max()

  mask = batch.context_mask
  plain = run(params, z, batch.context, mask)
  for step in (0, 1):
    moved = z.copy()
    moved[:, :, step] += 1
    assert changed(moved, mask) > 1e-3
  swapped = z[:, :, ::-1]
  assert changed(swapped, mask) > 1e-3
  assert (changed(z, ~mask) > 1e-3) == context


@pytest.mark.parametrize('normalize', [False, True])
def test_scale_of_the_representation(
  make_config, make_params, batch, normalize
):
  """It tells how many frames were seen, unless it is normalised."""
  model = build(make_config(normalize_r=normalize))
  params = make_params(model)
  encode = jax.jit(lambda scene, mask: model.encode(params, scene, mask))
  twice = jax.tree.map(lambda x: np.concatenate([x, x], 1), batch.context)
  mask = batch.context_mask
  r = encode(batch.context, mask)
  doubled = encode(twice, np.concatenate([mask, mask], axis=1))
  np.testing.assert_allclose(
    doubled, r if normalize else 2 * r, rtol=1e-3, atol=1e-5
  )
  assert not np.any(encode(batch.context, np.zeros_like(mask)))
  if normalize:
    square = np.mean(np.asarray(r) ** 2, axis=(1, 2, 3))[mask.any(axis=1)]
    np.testing.assert_allclose(square, 1, rtol=1e-3)


def test_wrong_shapes_are_named(model, params, batch):
  small = batch.context._replace(frames=batch.context.frames[..., :8, :8, :])
  with pytest.raises(ValueError, match='16, 16'):
    model.encode(params, small, batch.context_mask)
