"""GQN against CGQN: the same networks, one latent per target or one a scene."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cgqn_jax.config import NETWORKS
from cgqn_jax.models import objective
from cgqn_jax.models.build import build
from cgqn_jax.models.gqn import GQN
from cgqn_jax.types import Scene

KEY = jax.random.key(7)
CLOSE = {'rtol': 1e-5, 'atol': 1e-5}


@pytest.fixture(scope='module', params=NETWORKS)
def model(request, make_config):
  return build(make_config(f'networks={request.param}'))


@pytest.fixture(scope='module')
def params(model, make_params):
  return make_params(model)


@pytest.fixture(scope='module')
def gqn(model):
  """GQN over the very networks of the CGQN, which see no query."""
  return GQN(model.networks, model.pixel_variance)


@pytest.fixture(scope='module')
def batch(make_batch):
  return make_batch()


def copies(batch, count):
  """The first target of every scene, `count` times."""
  target = jax.tree.map(
    lambda x: np.repeat(x[:, :1], count, axis=1), batch.target
  )
  mask = np.ones((len(batch.weight), count), bool)
  return batch._replace(target=target, target_mask=mask)


def draw(model, params, batch, **options):
  sample = jax.jit(model.sample, static_argnames=('num_samples',))
  frames = sample(
    params,
    KEY,
    batch.context,
    batch.context_mask,
    batch.target.views,
    example_id=batch.example_id,
    **{'num_samples': 2, **options},
  )
  return np.asarray(frames)


def test_two_identical_queries(model, gqn, params, batch):
  """Identical frames in one sample of CGQN, different ones in one of GQN."""
  twice = copies(batch, 2)
  one, other = np.moveaxis(draw(model, params, twice), 2, 0)
  np.testing.assert_allclose(one, other, **CLOSE)
  frames = draw(gqn, params, twice)
  assert frames.shape == (2, 3, 2, 16, 16, 3)
  difference = np.abs(frames[:, :, 0] - frames[:, :, 1]).max((-3, -2, -1))
  assert difference.min() > 1e-2


def test_divergence_of_copies(model, gqn, params, batch):
  """GQN's KL on n copies with the same noise is n times the single one.

  CGQN's is one term a scene, of another latent, with another r'.
  """
  three, one = copies(batch, 3), copies(batch, 1)
  noise = gqn._noise(jax.random.split(KEY, 3))  # a latent's, for each scene

  @jax.jit
  def divergence(batch):
    count = batch.target_mask.shape[1]
    per_target = jax.tree.map(
      lambda x: jnp.repeat(x[:, None], count, axis=1), noise
    )
    each = gqn._apply('bound_each', params, batch, per_target)
    whole = gqn._apply('bound', params, batch, noise, batch.target.views)
    return [
      objective.elbo(mean, batch, z, q, p, 0.5, per_target=own).kl
      for own, (mean, z, q, p) in ((True, each), (False, whole))
    ]

  (each, whole), (each_of_three, whole_of_three) = map(divergence, (one, three))
  assert np.all(each > 0.1)
  np.testing.assert_allclose(each_of_three, 3 * each, rtol=1e-5)
  np.testing.assert_allclose(whole, each, rtol=1e-5)
  assert np.all(np.abs(whole_of_three / whole - 3) > 0.1)


def test_bound_is_the_sum_over_targets(gqn, params, batch):
  """Adds the bounds of each target alone; padded targets count for nothing."""
  elbo = jax.jit(gqn.elbo)
  whole = elbo(params, KEY, batch, 0.5)
  masked = batch._replace(target_mask=batch.target_mask & [True, True, False])
  first = elbo(params, KEY, masked, 0.5)
  two = jax.tree.map(lambda x: x[:, :2], batch.target)
  mask = np.ones((3, 2), bool)
  alone = elbo(params, KEY, batch._replace(target=two, target_mask=mask), 0.5)
  for a, b, c in zip(first, alone, whole, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert np.all(np.abs(a - c) > 1e-2)


def test_loss_has_the_metrics_of_cgqn(model, gqn, params, batch):
  value, metrics = jax.jit(gqn.loss)(params, KEY, batch, 3)
  expected = jax.eval_shape(model.loss, params, KEY, batch, 3)[1]
  shapes = jax.tree.map(np.shape, metrics)
  assert shapes == jax.tree.map(np.shape, expected)
  assert value == metrics['loss']
  np.testing.assert_allclose(
    np.sum(metrics['kl_per_step']), metrics['kl'], rtol=1e-5
  )


def test_a_query_alone_is_the_query_among_others(gqn, params, batch):
  """The first one; noise is of the place among the queries."""
  frames = draw(gqn, params, batch)
  short = batch._replace(target=jax.tree.map(lambda x: x[:, :1], batch.target))
  np.testing.assert_allclose(
    draw(gqn, params, short), frames[:, :, :1], **CLOSE
  )
  later = draw(gqn, params, batch, num_samples=1, first_sample=1)
  np.testing.assert_allclose(later[0], frames[1], **CLOSE)


def test_parts_compose(gqn, params, batch):
  @jax.jit
  def run(params):
    r = gqn.encode(params, batch.context, batch.context_mask)
    ids = batch.example_id
    prior = gqn.prior(params, KEY, r, batch.target.views, 2, ids)
    latent, kl = gqn.posterior(params, KEY, r, batch.target, 2, ids)
    return (
      gqn.render(params, prior, batch.target.views),
      gqn.render(params, latent, batch.target.views),
      kl,
      gqn.reconstruct(params, KEY, batch),
      gqn.elbo(params, KEY, batch, 0.5).kl,
    )

  sampled, rendered, kl, reconstruction, divergence = run(params)
  np.testing.assert_allclose(sampled, draw(gqn, params, batch), **CLOSE)
  np.testing.assert_allclose(rendered[0], reconstruction, **CLOSE)
  assert kl.shape == (2, 3, 3)
  np.testing.assert_allclose(kl[0].sum(-1), divergence, rtol=1e-5)


@pytest.mark.parametrize('family', NETWORKS)
def test_prior_and_posterior_see_the_query(
  make_config, make_params, batch, family
):
  """A query moves its latent, through both nets; other queries do not."""
  config = make_config(f'model=gqn,networks={family}')
  assert config.model.latent_sees_query
  gqn = build(config)
  params = make_params(gqn)
  if family == 'draw':
    # Encoding 5, latent 2, hidden 4, a view channel; the posterior sees 4 more.
    draws = params['draw']
    assert draws['prior_lstm']['kernel'].shape == (3, 3, 12, 16)
    assert draws['posterior_lstm']['kernel'].shape == (3, 3, 16, 16)

  @jax.jit
  def latents(views):
    r = gqn.encode(params, batch.context, batch.context_mask)
    targets = Scene(batch.target.frames, views)
    sampled = gqn.prior(params, KEY, r, views)
    inferred, kl = gqn.posterior(params, KEY, r, targets)
    return jax.tree.leaves((sampled.z, inferred.z, kl))

  views = batch.target.views
  plain = latents(views)
  moved = views.copy()  # jit may still be reading the views themselves
  moved[:, 1] += 0.5
  for a, b in zip(plain, latents(moved), strict=True):
    difference = np.abs(a - b)[0].reshape((3, 3, -1)).max(-1)
    assert difference[:, 1].min() > 1e-4
    assert difference[:, [0, 2]].max() == 0


def test_renderer_may_see_the_context(make_config, make_params, batch):
  gqn = build(make_config('model=gqn', renderer_sees_context=True))
  frames = draw(gqn, make_params(gqn), batch)
  assert frames.shape == (2, 3, 3, 16, 16, 3) and np.isfinite(frames).all()
