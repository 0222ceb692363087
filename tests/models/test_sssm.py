"""sSSM: a posterior for each frame, a state that goes on, frames on demand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cgqn_jax.models import densities, sequential, sssm
from cgqn_jax.models.build import build
from cgqn_jax.models.sequential import Sequential
from cgqn_jax.models.sssm import SSSMNetworks
from configs import narratives

KEY = jax.random.key(7)
FRAMES, CONTEXT = 6, 2
LATENT = 2


def make_model(max_context=CONTEXT):
  networks = SSSMNetworks(
    frame_size=16,
    num_frames=FRAMES,
    max_context=max_context,
    width=0.125,
    latent=LATENT,
  )
  return Sequential(networks, optax.constant_schedule(0.5))


@pytest.fixture(scope='module')
def model():
  return make_model()


@pytest.fixture(scope='module')
def params(model, make_params):
  return make_params(model)


@pytest.fixture(scope='module')
def batch(make_video):
  return make_video(2, CONTEXT, FRAMES - CONTEXT)


@pytest.fixture(scope='module')
def noise():
  rng = np.random.default_rng(0)
  shape = (2, 2, FRAMES - 1, 8, 8, LATENT)
  return rng.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope='module')
def sample(model, params, batch):
  context = batch.context.frames.astype(np.float32) / 255

  @jax.jit
  def run(noise, index):
    """index: counted from the end of the context."""
    return model.networks.apply(
      {'params': params}, context, noise, index, method='sample'
    )

  every = np.tile(np.arange(FRAMES - CONTEXT), (2, 1))
  return lambda noise: np.asarray(run(noise, every))


@pytest.fixture(scope='module')
def gradient(model):
  """The KL, summed over steps, and the KL of each step."""

  def kl(params, batch):
    metrics = model.loss(params, KEY, batch, jnp.int32(0))[1]
    return metrics['kl'], metrics['kl_per_step']

  return jax.jit(jax.value_and_grad(kl, has_aux=True))


def test_kl_is_of_each_frame_and_teaches_the_encoder(gradient, params, batch):
  (kl, steps), grads = gradient(params, batch)
  assert steps.shape == (FRAMES - CONTEXT,) and np.all(steps > 1e-3)
  np.testing.assert_allclose(kl, np.sum(steps), rtol=1e-5)
  for part in ('encode_fine', 'encode_coarse', 'prior', 'posterior', 'start'):
    leaves = jax.tree.leaves(grads[part])
    assert np.max([np.abs(leaf).max() for leaf in leaves]) > 1e-4
  # The decoder has no part in it.
  for part in ('decode_fine', 'decode_coarse'):
    for leaf in jax.tree.leaves(grads[part]):
      np.testing.assert_array_equal(leaf, 0)


def test_kl_is_zero_where_the_posterior_is_the_prior(gradient, params, batch):
  same = jax.tree.map(np.copy, params)
  for head in ('prior', 'posterior'):
    for stack in same[head].values():
      stack['Conv_2']['kernel'][:] = 0
      stack['Conv_2']['bias'][:] = [0.3, -0.7]
  (kl, steps), _ = gradient(same, batch)
  np.testing.assert_allclose(steps, 0, atol=1e-4)
  # A shift of the mean by 0.1 at a log-variance of 0.3 or -0.7: by hand.
  same['posterior']['mean']['Conv_2']['bias'] += 0.1
  (_, steps), _ = gradient(same, batch)
  expected = 64 * 0.005 * (np.exp(-0.3) + np.exp(0.7))
  np.testing.assert_allclose(steps, expected, rtol=1e-3)
  # Of the posterior to the prior: a wider one costs more than a narrower one.
  same['posterior']['mean']['Conv_2']['bias'] -= 0.1
  same['posterior']['log_variance']['Conv_2']['bias'] += 0.5
  (_, steps), _ = gradient(same, batch)
  expected = 64 * 2 * (np.exp(0.5) - 1 - 0.5) / 2
  np.testing.assert_allclose(steps, expected, rtol=1e-3)


def test_what_is_not_charged(model, params, batch):
  """A weight and free nats change what is minimised, not what is reported."""

  @jax.jit
  def losses(batch):
    out = []
    for weight, free in ((1.0, 0.0), (0.25, 0.0), (1.0, 0.5), (1.0, 1e6)):
      weight = optax.constant_schedule(weight)
      other = Sequential(
        model.networks,
        model.pixel_variance,
        kl_weight=weight,
        free_nats=free,
      )
      loss, metrics = other.loss(params, KEY, batch, jnp.int32(0))
      out.append((loss, metrics['loss'], metrics['kl']))
    return out

  plain, quarter, half, free = np.asarray(losses(batch))
  np.testing.assert_array_equal(quarter[1:], plain[1:])
  np.testing.assert_allclose(plain[0], plain[1], rtol=1e-6)
  kl = plain[2]
  assert kl > 2
  np.testing.assert_allclose(plain[0] - quarter[0], 0.75 * kl, rtol=0.01)
  np.testing.assert_allclose(plain[0] - free[0], kl, rtol=0.01)
  # Half a nat of each of the 4 steps.
  np.testing.assert_allclose(plain[0] - half[0], 2.0, rtol=0.01)


def test_each_step_teaches_what_its_frame_is_encoded_as(model, params, batch):
  """A step's KL by the pixels of its own frame, and of no later one."""
  context, target = batch.context.frames, batch.target.frames
  video = np.concatenate([context, target], axis=1).astype(np.float32) / 255
  rng = np.random.default_rng(0)
  shape = (len(video), FRAMES - 1, 8, 8, LATENT)
  noise = sequential.Noise(rng.standard_normal(shape).astype(np.float32), None)

  @jax.jit
  @jax.jacrev
  def jacobian(video):
    _, _, q, p = model.networks.apply(
      {'params': params}, video, CONTEXT, noise, sequential.EVALUATION,
      method='bound',
    )  # fmt: skip
    return jnp.sum(densities.kl(q, p), axis=(0, *densities.EVENT_AXES))

  slopes = np.abs(jacobian(video))[:, :, CONTEXT:].max((1, 3, 4, 5))
  assert slopes.shape == (FRAMES - CONTEXT,) * 2
  assert np.all(np.diag(slopes) > 1e-4)
  np.testing.assert_array_equal(np.triu(slopes, 1), 0)


def test_the_state_remembers_every_latent(sample, noise):
  """The latent of a frame changes it and all later ones, none before."""
  whole = sample(noise)
  for t in range(FRAMES - CONTEXT):
    changed = noise.copy()
    changed[:, :, CONTEXT - 1 + t] += 1
    difference = np.abs(sample(changed) - whole)
    difference = difference.max((0, 1, 3, 4, 5))
    assert np.all(difference[t:] > 1e-4)
    np.testing.assert_array_equal(difference[:t], 0)
  # That of a frame of the context has no part.
  changed = noise.copy()
  changed[:, :, : CONTEXT - 1] += 1
  np.testing.assert_array_equal(sample(changed), whole)


def test_what_rests_rests(params):
  """Without the branches' last layers the state is the one before."""
  module = layers_of(params)
  s = np.random.default_rng(1).standard_normal((2, 8, 8, 8)).astype(np.float32)
  z = np.ones((2, 8, 8, LATENT), np.float32)
  still = jax.tree.map(np.copy, params['transition'])
  moved = module.apply({'params': still}, s, z)
  assert np.abs(moved - s).max() > 1e-2
  for branch in ('Branch_0', 'Branch_1'):
    still[branch]['Conv_2']['kernel'][:] = 0
    still[branch]['Conv_2']['bias'][:] = 0
  np.testing.assert_array_equal(module.apply({'params': still}, s, z), s)
  # So a training starts.
  np.testing.assert_array_equal(module.apply(module.init(KEY, s, z), s, z), s)


def test_its_latent_costs_nothing_at_first():
  config = narratives.get_config('preset=small,model=sssm')
  steps, weight = config.num_steps, build(config).kl_weight
  weights = [float(weight(share * steps)) for share in (0, 0.075, 0.15, 1)]
  assert weights == pytest.approx([0, 0.5, 1, 1])


def test_each_cell_hears_of_the_whole_map(params):
  """By pool and inject: convolutions alone reach 8 cells; this map has 24."""
  module = layers_of(params)
  s = np.zeros((1, 24, 24, 8), np.float32)
  far = s.copy()
  far[:, 0, 0] = 5
  z = np.zeros((1, 24, 24, LATENT), np.float32)
  near, other = (
    module.apply({'params': params['transition']}, x, z) for x in (s, far)
  )
  assert np.abs(near - other)[0, -1, -1].max() > 1e-4


def layers_of(params):
  hidden = params['transition']['Conv_0']['bias'].shape[0]
  return sssm.Transition(hidden, 8)


def test_fewer_frames_may_start_a_state(make_params):
  model = make_model(max_context=3)
  networks, params = model.networks, make_params(model)

  def start(encoded):
    return networks.apply({'params': params}, encoded, method='first_state')

  encoded = np.random.default_rng(1).standard_normal((2, 3, 8, 8, 8))
  encoded = encoded.astype(np.float32)
  full, two = start(encoded), start(encoded[:, :2])
  assert full.shape == two.shape == (2, 8, 8, 8)
  blank = encoded.copy()
  blank[:, 2] = 0
  # A slot that is empty is not a frame of zeros.
  assert np.abs(start(blank) - two).max() > 1e-3
  with pytest.raises(ValueError, match='4 context frames.* at most 3 '):
    start(np.zeros((2, 4, 8, 8, 8), np.float32))
