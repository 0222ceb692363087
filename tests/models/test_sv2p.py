"""SV2P: three phases, a latent per video or a step, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cgqn_jax.models import schedules
from cgqn_jax.models.build import build
from cgqn_jax.models.sequential import Sequential
from cgqn_jax.models.sv2p import SV2PNetworks
from configs import narratives

KEY = jax.random.key(7)
FRAMES, CONTEXT = 5, 2
NUM_STEPS = 100
STEPS = {'generator': 24, 'inference': 26, 'ramp': 55, 'hold': 61}


def make_model(time_variant):
  networks = SV2PNetworks(
    frame_size=16,
    num_frames=FRAMES,
    width=0.125,
    kernel_size=5,
    num_kernels=3,
    latent=4,
    time_variant=time_variant,
  )
  return Sequential(
    networks,
    optax.constant_schedule(0.5),
    informed=schedules.schedule((0, 0.25), (0, 1), 'constant', NUM_STEPS),
    kl_weight=schedules.schedule((0.5, 0.6), (0, 1), 'linear', NUM_STEPS),
  )


@pytest.fixture(scope='module', params=[False, True], ids=['once', 'each_step'])
def model(request):
  return make_model(request.param)


@pytest.fixture(scope='module')
def draws(model):
  """K: as many latents are drawn."""
  return FRAMES - 1 if model.networks.time_variant else 1


@pytest.fixture(scope='module')
def params(model, make_params):
  return make_params(model)


@pytest.fixture(scope='module')
def batch(make_video):
  return make_video(2, CONTEXT, FRAMES - CONTEXT)


@pytest.fixture(scope='module')
def elbo(model, params):
  return jax.jit(lambda batch: model.elbo(params, KEY, batch, 0.5))


@pytest.fixture(scope='module')
def phases(make_params, batch):
  """Loss, metrics and gradients in each phase, with one latent per video."""
  model = make_model(time_variant=False)
  params = make_params(model)
  gradient = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
  return {
    name: gradient(params, KEY, batch, jnp.int32(step))
    for name, step in STEPS.items()
  }


def test_the_schedules():
  """Those of a config: a quarter, a quarter, a tenth of the run, the rest."""
  config = narratives.get_config('preset=small,model=sv2p').unlock()
  config.num_steps = NUM_STEPS
  model = build(config)
  steps = [0, 24, 25, 49, 50, 55, 60, 100]
  informed = [float(model.informed(s)) for s in steps]
  assert informed == [0, 0, 1, 1, 1, 1, 1, 1]
  weights = [float(model.kl_weight(s)) for s in steps]
  np.testing.assert_allclose(weights, [0, 0, 0, 0, 0, 0.5, 1, 1], atol=1e-6)


def test_the_generator_learns_first_on_noise(phases):
  """No KL, and nothing reaches the tower, though all else learns."""
  (loss, metrics), grads = phases['generator']
  assert metrics['kl'] == 0
  np.testing.assert_allclose(loss, -metrics['log_likelihood'], rtol=1e-6)
  for leaf in jax.tree.leaves(grads['tower']):
    np.testing.assert_array_equal(leaf, 0)
  assert np.abs(grads['predictor']['mix']['kernel'][-4:]).max() > 1e-6


def test_then_inference_without_a_price(phases):
  (loss, metrics), grads = phases['inference']
  assert metrics['kl'] > 1
  np.testing.assert_allclose(loss, -metrics['log_likelihood'], rtol=1e-6)
  for head in ('mean', 'log_variance'):
    kernel = grads['tower'][head]['Dense_0']['kernel']
    assert np.abs(kernel).max() > 1e-6


def test_at_last_the_divergence_is_charged(phases):
  """Half of it in the middle of the ramp, all of it after."""
  for name, share in (('ramp', 0.5), ('hold', 1.0)):
    (loss, metrics), _ = phases[name]
    np.testing.assert_allclose(
      loss + metrics['log_likelihood'],
      share * metrics['kl'],
      rtol=1e-3,
    )
    np.testing.assert_allclose(
      metrics['loss'], metrics['kl'] - metrics['log_likelihood'], rtol=1e-5
    )


def test_divergence_counts_as_often_as_z_is_drawn(
  model, params, batch, draws, elbo
):
  """Against a standard normal, by hand from the tower's mean and variance."""
  frames = [batch.context.frames, batch.target.frames]
  video = np.concatenate(frames, axis=1).astype(np.float32) / 255
  q = model.networks.bind({'params': params}).tower(video)
  assert q.mean.shape == (2, 2, 2, 4)
  variance = np.exp(2 * q.log_std)
  kl = 0.5 * (variance + q.mean**2 - 1 - np.log(variance))
  expected = draws * kl.sum((1, 2, 3))
  assert np.all(expected > 1)
  np.testing.assert_allclose(elbo(batch).kl, expected, rtol=1e-4)


def test_two_latents_two_futures(model, params, batch, draws):
  networks = model.networks
  assert networks.latent_shape == (draws, 2, 2, 4)
  index = np.array([[0, 1, 2]] * 2)
  context = batch.context.frames.astype(np.float32) / 255

  @jax.jit
  def sample(noise):
    return networks.apply(
      {'params': params}, context, noise, index, method='sample'
    )

  noise = np.random.default_rng(0).standard_normal((2, 2, draws, 2, 2, 4))
  noise = noise.astype(np.float32)
  frames = sample(noise)
  assert np.abs(frames[0] - frames[1]).max() > 1e-3
  np.testing.assert_array_equal(sample(noise[::-1]), frames[::-1])
  # The last step's latent reaches the last frame alone, where it has one.
  changed = noise.copy()
  changed[:, :, -1] += 1
  difference = np.abs(sample(changed) - frames).max((0, 1, 3, 4, 5))
  assert difference[-1] > 1e-4
  assert (difference[0] > 1e-4) == (draws == 1)
  # A context step's latent reaches the future.
  changed = noise.copy()
  changed[:, :, 0] += 1
  assert np.abs(sample(changed) - frames)[:, :, 0].max() > 1e-5


def test_the_posterior_sees_the_whole_video(batch, elbo):
  plain = elbo(batch)
  for part in ('context', 'target'):
    scene = getattr(batch, part)
    frames = scene.frames.copy()
    frames[0, -1] = 255 - frames[0, -1]
    changed = elbo(batch._replace(**{part: scene._replace(frames=frames)}))
    assert abs(changed.kl[0] - plain.kl[0]) > 1e-4
    np.testing.assert_allclose(changed.kl[1], plain.kl[1], rtol=1e-5)
