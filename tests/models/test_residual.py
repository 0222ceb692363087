"""Residual networks: bounded posteriors, turned channels, a part of a bound."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cgqn_jax import config as config_lib
from cgqn_jax.config import levels
from cgqn_jax.models import densities, residual
from cgqn_jax.models.build import build
from cgqn_jax.models.cgqn import CGQN
from cgqn_jax.models.gqn import GQN
from cgqn_jax.training import update as update_lib
from cgqn_jax.training.update import AXIS, TrainState
from cgqn_jax.types import Batch, Scene

KEY = jax.random.key(7)
WIDTH, STEPS, CODES = 8, 2, 4  # of the tiny networks of conftest.py
CHOICES = {'map_latent': 0, 'vector_latent': 0}
_CHOICES = {f'model.{name}': 0 for name in CHOICES}
# What of Q(z | r, r') is no part of P(z | r).
POSTERIOR = ('evidence', 'evidence_block') + tuple(
  f'{name}_{step}'
  for name in ('joins', 'posterior_blocks', 'posteriors')
  for step in range(STEPS)
)


@pytest.fixture(scope='module')
def model(make_config):
  return build(make_config('networks=residual'))


@pytest.fixture(scope='module')
def params(model, make_params):
  return make_params(model)


@pytest.fixture(scope='module')
def seen():
  """r and r' of 3 scenes, [3, 4, 4, 8] each."""
  rng = np.random.default_rng(1)
  return rng.standard_normal((2, 3, 4, 4, 8)).astype(np.float32)


@pytest.fixture(scope='module')
def infer(model):
  """Posterior and prior, both of a map and a vector, given r and r'."""
  noise = model._noise(jax.random.split(KEY, 3))

  @jax.jit
  def run(params, r, r_target):
    return model._apply('infer', params, r, r_target, noise)[1:]

  return run


def enlarged(params, factor):
  """With the posterior's last layers times a factor."""
  last = {f'posteriors_{step}' for step in range(STEPS)}
  latent = {
    name: jax.tree.map(lambda x: factor * x, its) if name in last else its
    for name, its in params['latent'].items()
  }
  return params | {'latent': latent}


def shift_of(q, p):
  """How far the means are from each other, in the prior's deviations."""
  return np.abs(q.mean - p.mean) * np.exp(-np.asarray(p.log_std))


@pytest.mark.parametrize('size', [1, 1e6])
@pytest.mark.parametrize('factor', [1, 1e3])
def test_posterior_stays_near_the_prior(infer, params, seen, size, factor):
  """At most 4 deviations away and never wider; weights of 1e3 get there."""
  every = infer(enlarged(params, np.float32(factor)), *np.float32(size) * seen)
  for q, p in zip(*every, strict=True):
    shift = shift_of(q, p)
    assert np.all(shift <= 4 * (1 + 1e-5)) and np.all(q.log_std <= p.log_std)
    assert (shift.max() > 3.99) == (factor > 1)
    assert np.any(q.log_std < p.log_std - 0.1)


@pytest.mark.parametrize('size', [1, 1e3, 1e6])
def test_divergence_of_a_coordinate_is_bounded(infer, params, seen, size):
  """By 8 nats for the mean and, for the deviation, what its weights allow.

  A normalised channel of 8 is at most the root of 8, whatever the input.
  """
  posterior, prior = infer(params, *np.float32(size) * seen)
  kls = jax.tree.map(
    densities.kl, posterior, prior, is_leaf=lambda x: hasattr(x, 'log_std')
  )
  for layer, kl in zip(('map', 'vector'), kls, strict=True):
    for step in range(STEPS):
      dense = params['latent'][f'posteriors_{step}'][layer]
      half = len(dense['bias']) // 2
      reach = np.sqrt(WIDTH) * np.abs(dense['kernel'][:, half:]).sum(0)
      reach = reach + np.abs(dense['bias'][half:])
      bound = 8 + np.logaddexp(0, reach - 2)
      its = np.asarray(kl[:, step])
      assert np.all(its <= bound) and np.all(its > -1e-6)
      assert its.max() > 0.1 and bound.max() < 25


def test_fresh_weights(model, infer, seen):
  """A standard normal prior, the posterior a little narrower, black frames."""
  params = model.init(KEY)
  posterior, prior = infer(params, *seen)
  # Narrower by softplus(-2) = 0.1269280 in the logarithm.
  np.testing.assert_array_equal(jax.tree.leaves(prior)[0], 0)
  for q, p in zip(posterior, prior, strict=True):
    for leaf in (q.mean, p.mean, p.log_std):
      np.testing.assert_array_equal(leaf, 0)
    np.testing.assert_allclose(q.log_std, -0.1269280, rtol=1e-5)
    np.testing.assert_allclose(densities.kl(q, p), 0.0148294, rtol=1e-3)
  last = params['renderer']['PatchDeconv_1']  # after the stage at 16x16
  assert not np.any(last['kernel']) and not np.any(last['bias'])


def test_a_vector_means_codes_and_no_noise_is_out_of_bounds():
  codes = residual.Codes(4)
  z = jax.random.normal(KEY, (50, 3))
  params = codes.init(KEY, z)
  near, far = codes.apply(params, z), codes.apply(params, 1e3 * z)
  for said in (near, far):
    each = np.asarray(said).reshape((50, -1, 4)) / 2  # of size 1 = sqrt(4) / 2
    np.testing.assert_allclose(each.sum(-1), 1, atol=1e-5)
    assert each.min() >= 0
  # Far out, one code of each softmax is meant, and nothing in between.
  share = np.asarray(far).reshape((50, -1, 4)).max(-1) / 2
  assert np.mean(share > 0.99) > 0.95


@pytest.fixture(scope='module')
def choosing(make_config, make_params):
  """A model with a latent of choices, its parameters and its inference."""
  model = build(make_config('networks=residual', **CHOICES))
  noise = model._noise(jax.random.split(KEY, 3))

  @jax.jit
  def infer(params, r, r_target):
    return model._apply('infer', params, r, r_target, noise)

  return model, make_params(model), infer


@pytest.mark.parametrize('size', [1, 1e6])
@pytest.mark.parametrize('factor', [1, 1e3])
def test_posterior_choices_stay_near_the_prior(choosing, seen, size, factor):
  """Logits differ by 16 at most, so no KL is more; weights of 1e3 get near.

  By 8 each way, less what makes the probabilities sum to 1.
  """
  _, params, infer = choosing
  choices = params['latent']['choices']
  last = {
    f'posterior_{of}_{step}'
    for of in ('cells', 'codes')
    for step in range(STEPS)
  }
  choices = {
    name: jax.tree.map(lambda x: np.float32(factor) * x, its)
    if name in last
    else its
    for name, its in choices.items()
  }
  params = params | {'latent': params['latent'] | {'choices': choices}}
  _, posterior, prior = infer(params, *np.float32(size) * seen)
  for q, p in zip(posterior, prior, strict=True):
    shift = np.abs(q.logits - p.logits)
    assert np.all(shift <= 16 * (1 + 1e-5))
    assert shift.max() > (7.9 if factor > 1 else 0.1)
    kl = densities.kl(q, p).sum(-1)
    assert np.all(kl > -1e-5) and np.all(kl < 16)
    for density in (q, p):
      np.testing.assert_allclose(np.exp(density.logits).sum(-1), 1, rtol=1e-5)


def test_a_draw_is_one_cell_and_one_code_a_step(choosing, seen):
  model, params, infer = choosing
  noise = model._noise(jax.random.split(KEY, 3))
  sampled = model._apply('sample_prior', params, seen[0], noise)
  for cell, code in (infer(params, *seen)[0], sampled):
    assert cell.shape == (3, STEPS, 16) and code.shape == (3, STEPS, CODES)
    for choice in (cell, code):
      np.testing.assert_allclose(choice.max(-1), 1, atol=1e-6)
      np.testing.assert_allclose(np.abs(choice).sum(-1), 1, atol=1e-6)


def test_fresh_choices(choosing, seen):
  """A uniform prior, and a posterior that prefers something."""
  model, _, infer = choosing
  _, posterior, prior = infer(model.init(KEY), *seen)
  for q, p, count in zip(posterior, prior, (16, CODES), strict=True):
    np.testing.assert_allclose(p.logits, -np.log(count), rtol=1e-6)
    assert densities.kl(q, p).sum(-1).min() > 1e-3


def test_the_prior_of_a_cell_knows_the_code(choosing, seen):
  """Of its step; and what a step chooses is known to the next."""
  model, params, _ = choosing
  noise = model._noise(jax.random.split(KEY, 3))

  @jax.jit
  def run(code):
    chosen = 9.0 * jax.nn.one_hot(code, CODES)  # far above all other noise
    forced = noise._replace(code=noise.code.at[:, 0].set(chosen))
    return model._apply('infer', params, *seen, forced)

  (z, _, prior), (other_z, _, other_prior) = run(0), run(1)
  assert np.all(z.code[:, 0, 0] == 1) and np.all(other_z.code[:, 0, 1] == 1)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(-1), prior, other_prior)
  np.testing.assert_array_equal(moved.code.logits[:, 0], 0)
  for part in (
    moved.cell.logits[:, 0],
    moved.cell.logits[:, 1],
    moved.code.logits[:, 1],
  ):
    assert part.min() > 1e-3


def test_what_is_chosen_is_told(choosing, seen):
  """Of each step the cell and the code change the state that is drawn."""
  model, params, _ = choosing
  networks = model.networks.bind({'params': params})
  z = networks.sample_prior(seen[0], model._noise(jax.random.split(KEY, 3)))
  _, first, said = networks.latent.state(seen[0], z, None)
  assert said.shape == (3, STEPS * CODES)
  np.testing.assert_allclose(said.max(-1), CODES**0.5, rtol=1e-5)
  for part in ('cell', 'code'):
    for step in range(STEPS):
      its = getattr(z, part)
      moved = its.at[:, step].set(np.roll(its[:, step], 1, -1))
      other = z._replace(**{part: moved})
      _, state, _ = networks.latent.state(seen[0], other, None)
      assert np.abs(state - first).max((1, 2, 3)).min() > 1e-4, (part, step)


def test_choices_are_relaxed_while_the_kl_is_cheap(choosing, make_batch):
  """In the end the loss is the negative ELBO, of draws that are choices.

  The KL weighs 0.2 at first, and 1 from update 5 of 20 on.
  """
  model, params, _ = choosing
  loss, elbo = jax.jit(model.loss), jax.jit(model.elbo)
  batch = make_batch(3, 2, 3)
  for step, is_bound in ((0, False), (3, False), (5, True)):
    value, metrics = loss(params, KEY, batch, step)
    key = jax.random.fold_in(KEY, step)
    bound = elbo(params, key, batch, metrics['pixel_variance'])
    likelihood = jnp.mean(bound.log_likelihood)
    near = np.isclose(metrics['log_likelihood'], likelihood, rtol=1e-6)
    assert near == is_bound, step
  # Held since it was made; a change of it changes every result.
  np.testing.assert_allclose(value, 3355.7083, rtol=1e-5)
  np.testing.assert_allclose(metrics['kl'], 4.22051, rtol=1e-4)


def test_the_kl_alone_teaches_the_prior_of_choices(choosing, make_batch):
  """The likelihood's gradients, far larger, do not reach it."""
  model, params, _ = choosing
  batch = make_batch(3, 2, 3)

  @jax.jit
  @jax.jacobian
  def gradients(params):
    bound = model.elbo(params, KEY, batch, 0.1)
    return jnp.mean(bound.log_likelihood), jnp.mean(bound.kl)

  likelihood, kl = (its['latent']['choices'] for its in gradients(params))
  for name in 'code_blocks', 'prior_codes', 'cell_blocks', 'prior_cells':
    for step in range(STEPS):
      of_likelihood, of_kl = (
        optax.tree.norm(its[f'{name}_{step}']) for its in (likelihood, kl)
      )
      assert of_likelihood == 0 and of_kl > 1e-3, (name, step)
  assert optax.tree.norm(likelihood['posterior_codes_0']) > 1e-3


def test_gradients_reach_the_posterior_at_any_size(model, params, seen):
  """Features grow in training; what reads them sees them normalised."""
  noise = model._noise(jax.random.split(KEY, 3))

  @jax.jit
  @jax.grad
  def gradient(params, r, r_target):
    _, q, p = model._apply('infer', params, r, r_target, noise)
    return jnp.sum(densities.kl_of_steps(q, p, 1))

  one, thousand = (
    gradient(params, *np.float32(size) * seen)['latent'] for size in (1, 1e3)
  )
  for name in POSTERIOR:
    norms = [
      np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(its[name])))
      for its in (one, thousand)
    ]
    assert norms[0] > 1e-2 and 0.2 < norms[1] / norms[0] < 5, (name, norms)


def views_of(turns, view_size):
  """Views that turn a scene by so much: times, or cameras anywhere."""
  if view_size == 1:
    return (turns / np.pi)[..., None].astype(np.float32)
  views = np.random.default_rng(2).standard_normal((*turns.shape, view_size))
  views[..., 3], views[..., 4] = np.sin(turns), np.cos(turns)
  return views.astype(np.float32)


@pytest.mark.parametrize('view_size', [1, 7])
def test_rotation(view_size):
  """Pair n is a complex number, turned by harmonic n of 0 to 7."""
  rotate = jax.jit(residual.rotate, static_argnums=2)
  rng = np.random.default_rng(0)
  x = rng.standard_normal((5, 4, 3, 20)).astype(np.float32)
  a, b = rng.uniform(-2, 2, (2, 5))
  turned = np.asarray(rotate(x, views_of(a, view_size), -1))
  pairs = x[..., ::2] + 1j * x[..., 1::2]
  order = np.array([0, 1, 2, 3, 4, 5, 6, 7, 0, 1])
  expected = pairs * np.exp(-1j * order * a[:, None, None, None])
  np.testing.assert_allclose(turned[..., ::2], expected.real, atol=2e-5)
  np.testing.assert_allclose(turned[..., 1::2], expected.imag, atol=2e-5)
  back = rotate(turned, views_of(a, view_size), 1)
  np.testing.assert_allclose(back, x, atol=2e-5)
  # What is seen at a and asked for at b depends on b - a alone: all cameras
  # may be turned, or a video be moved in time.
  for moved in (0.0, 0.9):
    here, there = views_of(a + moved, view_size), views_of(b + moved, view_size)
    asked = rotate(rotate(x, here, -1), there, 1)
    expected = rotate(x, views_of(b - a, view_size), 1)
    np.testing.assert_allclose(asked, expected, atol=5e-5)


def scenes(frame_size, view_size, targets=3):
  """3 scenes of noise: 4, 1 and no frames of context."""
  rng = np.random.default_rng(0)

  def scene(count):
    shape = (3, count, frame_size, frame_size, 3)
    frames = rng.integers(0, 256, shape, dtype=np.uint8)
    if view_size == 7:
      return Scene(frames, views_of(rng.uniform(-3, 3, (3, count)), 7))
    return Scene(frames, rng.random((3, count, view_size), dtype=np.float32))

  return Batch(
    context=scene(4),
    context_mask=np.arange(4) < np.array([[4], [1], [0]]),
    target=scene(targets),
    target_mask=np.ones((3, targets), bool),
    weight=np.ones(3, np.float32),
    example_id=np.arange(3, dtype=np.int32),
  )


@pytest.mark.parametrize('view_size', [1, 7])
def test_encodings_are_in_the_scene_s_own_frame(
  make_config, make_params, view_size
):
  """Turned back by where a frame was seen from, r is what the frame gave."""
  config = make_config('networks=residual')
  if view_size == 7:
    config_lib.choices(config)
  config.data.view_size = view_size
  networks = build(config).networks
  params = make_params(build(config))
  context = scenes(16, view_size).context
  layer = 'Dense_0' if view_size == 1 else 'Columns_0'

  @jax.jit
  def run(params):
    r, found = networks.apply(
      {'params': params},
      context,
      method='encode_each',
      capture_intermediates=True,
    )
    encoder = found['intermediates']['encoder']
    r = r[..., : config.model.representation]  # of rooms, before the looks
    back = residual.rotate(r, context.views, 1)
    return r, encoder[layer]['__call__'][0], back

  r, plain, back = run(params)
  assert r.shape == (3, 4, 4, 4, 8)
  np.testing.assert_allclose(back, plain, atol=2e-5)
  assert np.abs(r - plain).max() > 0.1
  if view_size == 1:
    # The very numbers of networks that rotate nothing.
    config.model.rotated = False
    its = build(config).networks
    encode = jax.jit(lambda params: its.apply(params, context, method=name))
    name = 'encode_each'
    r = encode({'params': params})
    np.testing.assert_allclose(r, plain, atol=1e-6)


def test_r_is_a_sum_over_the_root_of_the_number(model, params, make_batch):
  """The frames that are there count, 0 to 4 of them."""
  context = make_batch(5, 4).context
  mask = np.arange(4) < np.arange(5)[:, None]

  @jax.jit
  def run(params):
    each = model._apply('encode_each', params, context)
    return model.encode(params, context, mask), each

  r, each = map(np.asarray, run(params))
  assert not np.any(r[0])
  np.testing.assert_allclose(r[1], each[1, 0], rtol=1e-5, atol=1e-6)
  for count in (2, 3, 4):
    expected = each[count, :count].sum(0) / np.sqrt(count)
    np.testing.assert_allclose(r[count], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ('arg', 'frame_size', 'view_size', 'fields'),
  [
    ('', 16, 7, CHOICES),
    ('', 24, 1, {'map_latent': 0}),
    ('', 24, 1, CHOICES),
    ('', 24, 3, {'rotated': False}),
    ('model=gqn', 32, 7, CHOICES),
    ('model=gqn', 16, 1, CHOICES),
  ],
)
def test_sizes(make_config, make_params, arg, frame_size, view_size, fields):
  """Multiples of 8, times and cameras, vectors alone, and choices."""
  config = make_config(f'networks=residual,{arg}', **fields)
  config.data.frame_size, config.data.view_size = frame_size, view_size
  model = build(config)
  batch = scenes(frame_size, view_size)

  @jax.jit
  def run(params):
    frames = model.sample(
      params,
      KEY,
      batch.context,
      batch.context_mask,
      batch.target.views,
      num_samples=2,
    )
    return frames, *model.loss(params, KEY, batch, 3)

  frames, loss, metrics = run(make_params(model))
  assert frames.shape == (2, 3, 3, frame_size, frame_size, 3)
  assert np.isfinite(frames).all() and np.isfinite(loss)
  # A scene without context, too, has samples that differ, and views.
  assert np.abs(frames[0] - frames[1]).max((1, 2, 3, 4)).min() > 1e-2
  assert np.abs(frames[:, :, 0] - frames[:, :, 1]).max((2, 3, 4)).min() > 1e-2
  channels = config.model.map_latent + config.model.vector_latent
  channels = channels or 2  # a choice among cells, and one among codes
  assert metrics['kl_per_channel'].shape == (channels,)
  assert metrics['kl_per_step'].shape == (STEPS,)
  assert np.all(metrics['kl_per_channel'] > 0)
  for name in ('kl_per_channel', 'kl_per_step'):
    np.testing.assert_allclose(metrics[name].sum(), metrics['kl'], rtol=1e-5)


@pytest.mark.parametrize('arg', ['', 'model=gqn'])
def test_rooms_without_a_latent(make_config, make_params, arg):
  """No steps: a deterministic network, of no KL, with the parameters that stay.

  Its weights begin a run with a latent.
  """
  config = make_config(
    f'networks=residual,{arg}', latent_steps=0, glance=4, **CHOICES
  )
  config.data.view_size = 7
  model = build(config)
  params, batch = make_params(model), scenes(16, 7)
  frames = model.sample(
    params, KEY, batch.context, batch.context_mask, batch.target.views, 2
  )
  np.testing.assert_array_equal(frames[0], frames[1])
  loss, metrics = model.loss(params, KEY, batch, 3)
  assert metrics['kl'] == 0 and metrics['kl_per_step'].shape == (0,)
  np.testing.assert_allclose(loss, -metrics['log_likelihood'])
  config.model.latent_steps = STEPS
  more = make_params(build(config))
  shapes = [
    {jax.tree_util.keystr(k): x.shape for k, x in leaves}
    for leaves in map(jax.tree_util.tree_leaves_with_path, (params, more))
  ]
  assert shapes[0].items() < shapes[1].items()


def test_each_code_learns_a_picture(make_config, make_params):
  """A map that is black at first; the first gradient draws it cell by cell."""
  config = make_config('networks=residual', glance=4, **CHOICES)
  config.data.view_size = 7
  model = build(config)
  fresh = model.init(KEY)['latent']['choices']
  # At step 0 choices are relaxed: all codes have a share.
  gradients = jax.jit(
    jax.grad(lambda p: model.loss(p, KEY, scenes(16, 7), 0)[0])
  )
  drawn = gradients(make_params(model))['latent']['choices']
  for step in range(STEPS):
    pictures, change = (
      choices[f'pictures_{step}']['Dense_0']['kernel']
      for choices in (fresh, drawn)
    )
    assert pictures.shape == (CODES, 4 * 4 * WIDTH)
    assert np.all(pictures == 0)
    maps = np.abs(change).reshape(CODES, 4 * 4, WIDTH).max(2)
    assert maps.min() > 0
    assert maps.std(1).min() > 0  # cells are not alike


def test_the_imagined_camera_looks_where_nobody_looked(
  make_config, make_params
):
  """Opposite to the mean of the looks, wherever the room is turned."""
  config = make_config('networks=residual', glance=4, **CHOICES)
  config.data.view_size = 7
  model = build(config)
  params = make_params(model)
  params['latent']['aside'] = jax.tree.map(
    jnp.zeros_like, params['latent']['aside']
  )
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 256, (1, 2, 16, 16, 3), np.uint8)
  yaw = np.array([0.4, 1.0])

  def imagined(turned):
    views = views_of(yaw[None] + turned, 7).astype(np.float32)
    mask = np.ones((1, 2), bool)
    r = model.encode(params, Scene(frames, views), mask)
    *_, angle = model.networks.bind({'params': params}).latent._start(r, None)
    return float(angle[0])

  np.testing.assert_allclose(imagined(0.0), 0.7 - np.pi, atol=1e-5)
  np.testing.assert_allclose(imagined(2.0), 2.7 - np.pi, atol=1e-5)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'data.frame_size': 20}, 'data.frame_size is 20; .* multiples of 8'),
    ({'data.frame_size': 4}, 'data.frame_size is 4; .* multiples of 8'),
    ({'model.representation': 7}, 'model.representation is 7; .* even'),
    ({'data.view_size': 3}, 'model.rotated is on and data.view_size is 3'),
    ({'model.latent_steps': 0}, 'model.latent_steps is 0; only of rooms'),
    (
      {'data.view_size': 7},
      'model.map_latent is 2 and model.vector_latent 3; .* make both 0',
    ),
    (
      {'model.vector_latent': 0},
      'model.map_latent is 2 and model.vector_latent 0; .* make both 0',
    ),
    (
      {**_CHOICES, 'model.codes': 0},
      'model.codes is 0; a latent of choices .* 2 or more',
    ),
    ({'num_rendered': 9}, 'num_rendered is 9; .* to 8, which is data.num_'),
    ({'model.latent_sees_query': True}, 'latent_sees_query is on'),
  ],
)
def test_errors_of_a_config(make_config, change, message):
  config = make_config('networks=residual')
  config.data.num_targets = 8
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message) as error:
    build(config)
  assert '\n' not in str(error.value)


@pytest.fixture(scope='module')
def few(make_batch):
  """Scenes of 4, 3 and 1 targets, the others padding."""
  mask = np.arange(4) < np.array([[4], [3], [1]])
  return make_batch(3, 2, 4)._replace(target_mask=mask)


@pytest.mark.parametrize('kind', [CGQN, GQN])
def test_some_targets_stand_for_all(model, params, few, kind):
  """Over many choices of 2 the mean of everything is that of all targets."""
  keys = jax.random.split(KEY, 256)

  def run(count):
    its = kind(model.networks, model.pixel_variance, num_rendered=count)
    losses = jax.jit(jax.vmap(its.loss, in_axes=(None, 0, None, None)))
    loss, metrics = jax.device_get(losses(params, keys, few, 3))
    np.testing.assert_array_equal(metrics['loss'], loss)
    return metrics

  whole, part = run(0), run(2)
  names = ('loss', 'log_likelihood', 'loss_no_constant', 'mse', 'kl')
  for name in names:
    difference = part[name] - whole[name]
    error = difference.std() / np.sqrt(len(keys))
    if kind is CGQN and name == 'kl':  # the posterior has seen all of them
      np.testing.assert_allclose(part[name], whole[name], rtol=1e-4)
      continue
    assert abs(difference.mean()) < 4 * error, name
    # Without the scale it would be off by two fifths.
    assert 0 < error < 0.02 * np.abs(whole[name]).mean(), name


def test_padding_is_never_rendered_for_a_target(model, few):
  """Two of 4, two of 3, the only one; each as often as any other."""
  its = CGQN(model.networks, model.pixel_variance, num_rendered=2)
  choose = jax.jit(jax.vmap(its._rendered, in_axes=(0, None)))
  keys = jax.random.split(KEY, 400)
  shown, scale = jax.device_get(choose(keys, few))
  count = shown.target_mask.sum(2)
  np.testing.assert_array_equal(count, np.tile([2, 2, 1], (400, 1)))
  np.testing.assert_array_equal(scale, np.tile([2, 1.5, 1], (400, 1)))
  for b, real in enumerate((4, 3, 1)):
    views = few.target.views[b, :, 0]
    index = np.argmax(shown.target.views[:, b] == views, axis=-1)
    np.testing.assert_array_equal(  # a frame goes with its view
      shown.target.frames[:, b], few.target.frames[b, index]
    )
    chosen = index[shown.target_mask[:, b]]
    assert chosen.max() < real
    if real > 1:
      assert np.all(index[:, 0] != index[:, 1])
    times = np.bincount(chosen, minlength=real)
    share = min(2, real) / real
    error = np.sqrt(400 * share * (1 - share))
    assert np.all(np.abs(times - 400 * share) <= 4 * error)
  # It is the example's: in another order of the scenes it is the same.
  backwards = jax.tree.map(lambda x: x[::-1], few)
  other, _ = jax.device_get(choose(keys, backwards))
  np.testing.assert_array_equal(other.target.views[:, ::-1], shown.target.views)


def test_an_update_by_muon(make_config, make_params, make_batch):
  """It moves every parameter; kernels by a nearly orthogonal matrix."""
  config = make_config('networks=residual', codes=0, fine=0, latent_steps=1)
  config.optimizer.name = 'muon'
  config.learning_rate = levels((0,), (1e-2,), 'constant')
  config.num_rendered = 2
  model = build(config)
  params = make_params(model)
  optimizer = update_lib.make_optimizer(config)
  opt_state = jax.jit(optimizer.init)(params)
  state = TrainState(jnp.int32(0), params, opt_state, params)
  update = jax.vmap(
    update_lib.make_update(model, config),
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None),
  )
  batch = jax.tree.map(lambda x: x[None], make_batch(6, 4, 4))
  state, metrics = jax.device_get(jax.jit(update)(state, batch))
  assert state.step == 1 and metrics['skipped'] == 0
  assert np.isfinite(metrics['update_norm'])
  moved = jax.tree.map(lambda new, old: new - old, state.params, params)
  for path, leaf in jax.tree_util.tree_leaves_with_path(moved):
    assert np.isfinite(leaf).all() and np.mean(leaf != 0) > 0.9, path
  # The first step of Adam with Nesterov's momentum at a fifth of the rate: in
  # the direction of the gradient, and longer by b1 / (1 + b1).
  bias = moved['renderer']['Dense_0']['bias']
  np.testing.assert_allclose(np.abs(bias), 2e-3 * (1 + 0.9 / 1.9), rtol=0.02)
  # The features of a time, 11, to 64: singular values near the root of 64/11.
  kernel = moved['renderer']['ViewFeatures_0']['Dense_0']['kernel']
  values = np.linalg.svd(kernel / 1e-2 / np.sqrt(64 / 11))[1]
  assert kernel.shape == (11, 64) and values.max() < 1.3
  assert 0.6 < np.median(values)
