"""Layers against the plain forms that they stand for."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cgqn_jax.models import convolutions, layers, networks


def draw(seed: int, *shape: int) -> jax.Array:
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def plain(x, kernel):
  """SAME convolution of [n, h, w, I], as XLA has it."""
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


@pytest.mark.parametrize(
  ('height', 'width', 'size'),
  [(6, 7, 5), (5, 5, 5), (4, 4, 3), (3, 6, 5), (2, 2, 5), (1, 1, 3), (3, 3, 1)],
)
@pytest.mark.parametrize('maps', [2, 64])
def test_convolve_and_both_gradients(height, width, size, maps):
  """Maps larger than the kernel, and smaller, few and many: three paths."""
  x, kernel = draw(0, maps, height, width, 3), draw(1, size, size, 3, 4)
  # So that the gradient of the kernel, a sum over maps, stays of order one.
  cotangent = draw(2, maps, height, width, 4) / np.float32(maps)
  expected, pull = jax.vjp(plain, x, kernel)
  actual, own_pull = jax.vjp(convolutions.convolve, x, kernel)
  np.testing.assert_allclose(actual, expected, atol=1e-4)
  for own, theirs in zip(own_pull(cotangent), pull(cotangent), strict=True):
    np.testing.assert_allclose(own, theirs, atol=1e-4)


@pytest.mark.parametrize('maps', [9, 21])
def test_gradient_of_more_cells_than_are_taken_at_once(maps):
  """21 maps of 16x16 are three parts of 7, and 9 are two, one map padded."""
  x, kernel = draw(0, maps, 16, 16, 3), draw(1, 5, 5, 3, 4)
  cotangent = draw(2, maps, 16, 16, 4) / np.float32(maps)
  pull = jax.vjp(plain, x, kernel)[1]
  own_pull = jax.vjp(convolutions.convolve, x, kernel)[1]
  for own, theirs in zip(own_pull(cotangent), pull(cotangent), strict=True):
    np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-4)


def test_convolve_takes_any_leading_axes():
  x, kernel = draw(0, 2, 3, 4, 5, 2), draw(1, 3, 3, 2, 6)
  expected = plain(x.reshape(6, 4, 5, 2), kernel).reshape(2, 3, 4, 5, 6)
  np.testing.assert_allclose(
    convolutions.convolve(x, kernel), expected, atol=1e-5
  )
  single = convolutions.convolve(x[0, 0], kernel)
  np.testing.assert_allclose(single, expected[0, 0], atol=1e-5)


def test_gradient_inside_a_scan():
  """Where XLA's own gradient is slow: ours must be the same there, too."""
  x, kernel = draw(0, 1, 3, 4, 2), draw(1, 3, 3, 2, 2)

  def run(convolve, x, kernel):
    def step(x, _):
      return jnp.tanh(convolve(x, kernel)), None

    return jnp.sum(jax.lax.scan(step, x, length=3)[0] ** 2)

  grad = jax.jit(jax.grad(run, argnums=(1, 2)), static_argnums=0)
  for own, theirs in zip(
    grad(convolutions.convolve, x, kernel), grad(plain, x, kernel), strict=True
  ):
    np.testing.assert_allclose(own, theirs, atol=1e-5)
    assert np.abs(theirs).max() > 1e-2


def test_an_operator_is_made_once_and_plain_when_asked():
  """A matrix for many maps smaller than the kernel, the kernel for a few."""
  kernel = draw(1, 5, 5, 2, 3)
  matrix = convolutions.operator(kernel, 4, 3, 64)
  assert matrix.shape == (4 * 3 * 2, 4 * 3 * 3)
  both = convolutions.operator(kernel, 5, 6, 64)
  assert both.kernel is kernel and both.turned.shape == (5, 5, 3, 2)
  assert convolutions.operator(kernel, 4, 3, 2).kernel is kernel
  assert convolutions.operator(kernel, 4, 3, 64, cpu=False) is kernel
  x = draw(0, 64, 4, 3, 2)
  expected = convolutions.convolve(x, kernel, cpu=False)
  actual = convolutions.convolve(x, kernel)
  np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize('grid', [(5, 4), (2, 3)])
def test_convs_are_flax_s(grid):
  x = draw(0, 2, *grid, 3)
  variables = {'params': {'kernel': draw(1, 3, 3, 3, 6), 'bias': draw(2, 6)}}
  expected = nn.Conv(6, (3, 3)).apply(variables, x)
  actual = layers.Conv(6, 3).apply(variables, x)
  np.testing.assert_allclose(actual, expected, atol=1e-5)
  module = layers.RecurrentConv(3, 6, 3)
  operator = module.apply(variables, *grid, 2, method='operator')
  actual = module.apply(variables, x, operator)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize('stride', [2, 4])
def test_patch_conv_is_flax_s_strided_conv(stride):
  x = draw(0, 2, 8, 4, 3)
  bias, kernel = draw(1, 5), draw(2, stride, stride, 3, 5)
  own = {'kernel': kernel.reshape(-1, 5), 'bias': bias}
  actual = layers.PatchConv(5, stride).apply({'params': {'Dense_0': own}}, x)
  theirs = nn.Conv(5, (stride, stride), (stride, stride), 'VALID')
  expected = theirs.apply({'params': {'kernel': kernel, 'bias': bias}}, x)
  assert expected.shape == (2, 8 // stride, 4 // stride, 5)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize('stride', [2, 4])
def test_patch_deconv_is_flax_s_transposed_conv(stride):
  x = draw(0, 2, 3, 2, 3)
  bias, kernel = draw(1, 5), draw(2, 3, stride, stride, 5)
  own = {'kernel': kernel.reshape(3, -1), 'bias': bias}
  actual = layers.PatchDeconv(5, stride).apply({'params': own}, x)
  # Flax's kernel is spatially first, and reversed.
  flipped = jnp.flip(jnp.moveaxis(kernel, 0, 2), (0, 1))
  theirs = nn.ConvTranspose(5, (stride, stride), (stride, stride), 'VALID')
  expected = theirs.apply({'params': {'kernel': flipped, 'bias': bias}}, x)
  assert expected.shape == (2, 3 * stride, 2 * stride, 5)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def lstm() -> tuple[layers.ConvLSTM, dict]:
  """4 features, 3 static and 2 dynamic inputs, 3x3; and its parameters."""
  module = layers.ConvLSTM(4, static_features=3, input_features=2, size=3)
  return module, {'kernel': draw(1, 3, 3, 9, 16), 'bias': draw(2, 16)}


@pytest.mark.parametrize('grid', [(4, 5), (2, 2)])
def test_conv_lstm_is_the_plain_cell(grid):
  """One convolution of [static ; inputs ; h], three steps."""
  module, params = lstm()
  static, inputs = draw(3, 2, *grid, 3), draw(4, 3, 2, *grid, 2)
  variables = {'params': params}
  gates = module.apply(variables, static, method='static_gates')
  recurrent = module.apply(variables, *grid, 2, method='recurrent_operator')
  state = module.apply(variables, (2, *grid), method='initial_carry')
  h = c = np.zeros((2, *grid, 4))
  for x in inputs:
    state = module.apply(variables, state, x, gates, recurrent)
    joined = jnp.concatenate([static, x, jnp.float32(h)], -1)
    i, f, o, g = np.split(
      np.asarray(plain(joined, params['kernel'])) + np.asarray(params['bias']),
      4,
      axis=-1,
    )

    def sigmoid(x):
      return 1 / (1 + np.exp(-x))

    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
  np.testing.assert_allclose(state[0], h, atol=1e-5)
  np.testing.assert_allclose(state[1], c, atol=1e-5)
  assert np.abs(h).max() > 0.5


def test_view_gates_are_those_of_the_broadcast_view():
  """Gates of [map ; views] in two parts, the views as the last channels."""
  module, params = lstm()
  maps, views = draw(3, 6, 4, 5, 1), draw(4, 6, 2)
  variables = {'params': params}
  actual = module.apply(variables, maps, method='static_gates')
  actual += module.apply(variables, views, 4, 5, method='view_gates')
  broadcast = jnp.broadcast_to(views[:, None, None], (6, 4, 5, 2))
  joined = jnp.concatenate([maps, broadcast], -1)
  expected = plain(joined, params['kernel'][:, :, :3])
  expected = np.asarray(expected) + np.asarray(params['bias'])
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_embed_views():
  """[v, sin pi v, sin 2 pi v, cos pi v, cos 2 pi v], view by view."""
  views = jnp.float32([[0.5, 0.25]])
  assert layers.embed_views(views, 0) is views
  s = np.sqrt(0.5)
  expected = [[0.5, 0.25, 1, 0, s, 1, 0, -1, s, 0]]
  actual = layers.embed_views(views, 2)
  np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_encoder_is_four_convolutions():
  """ReLU between them and none after the last."""
  module = networks.Encoder((4, 5, 6, 7))
  frames, views = draw(0, 2, 8, 8, 3), draw(1, 2, 2)
  shapes = jax.eval_shape(module.init, jax.random.key(0), frames, views)
  params = jax.tree.map(lambda x: draw(sum(x.shape), *x.shape), shapes)[
    'params'
  ]
  actual = np.asarray(module.apply({'params': params}, frames, views))
  x = jnp.concatenate([frames, layers.broadcast_view(views, 8, 8)], -1)
  for name, features in (('PatchConv_0', 4), ('PatchConv_1', 5)):
    own = params[name]['Dense_0']
    kernel = own['kernel'].reshape(2, 2, -1, features)
    its = {'params': {'kernel': kernel, 'bias': own['bias']}}
    x = nn.relu(nn.Conv(features, (2, 2), (2, 2), 'VALID').apply(its, x))
  x = nn.relu(nn.Conv(6, (3, 3)).apply({'params': params['Conv_0']}, x))
  x = nn.Conv(7, (3, 3)).apply({'params': params['Conv_1']}, x)
  assert actual.shape == (2, 2, 2, 7)
  np.testing.assert_allclose(actual, x, rtol=1e-4, atol=1e-3)
  assert np.mean(actual < 0) > 0.2  # no ReLU


def test_encoder_scales_frames_and_lets_the_viewpoint_scale_features():
  """Both switches against the paper's encoder with the same kernels."""
  frames, views = draw(0, 2, 8, 12, 3), draw(1, 2, 2)
  plain_encoder = networks.Encoder()
  scaled = networks.Encoder(frame_scale=5.0, view_gains=True)
  params = scaled.init(jax.random.key(0), frames, views)['params']
  layer = params['view_gains']
  theirs = {k: v for k, v in params.items() if k != 'view_gains'}
  gains = 1 + layers.add_bias(views @ layer['kernel'], layer['bias'])
  expected = plain_encoder.apply({'params': theirs}, 5 * frames, views)
  np.testing.assert_allclose(
    scaled.apply({'params': params}, frames, views),
    expected * gains[:, None, None],
    rtol=1e-5,
    atol=1e-6,
  )


# Layers of CDNA, SV2P and sSSM.


@pytest.mark.parametrize('size', [3, 5])
def test_strided_conv_is_flax_s(size):
  x, kernel, bias = draw(0, 2, 8, 6, 3), draw(1, size, size, 3, 4), draw(2, 4)
  own = {'kernel': kernel.reshape(-1, 4), 'bias': bias}
  actual = layers.StridedConv(4, size).apply({'params': {'Dense_0': own}}, x)
  theirs = nn.Conv(4, (size, size), (2, 2), 'SAME')
  expected = theirs.apply({'params': {'kernel': kernel, 'bias': bias}}, x)
  assert expected.shape == (2, 4, 3, 4)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_transposed_conv_is_the_transpose():
  """The adjoint of the strided one, same kernel: <A x, y> = <x, A' y>."""
  x, y, kernel = draw(0, 2, 8, 6, 3), draw(1, 2, 4, 3, 5), draw(2, 3, 3, 3, 5)
  down = {'Dense_0': {'kernel': kernel.reshape(-1, 5)}}
  up = {'Dense_0': {'kernel': np.moveaxis(kernel, 3, 0)[..., :].reshape(5, -1)}}
  ax = layers.StridedConv(5, 3, use_bias=False).apply({'params': down}, x)
  ay = layers.TransposedConv(3, use_bias=False).apply({'params': up}, y)
  assert ay.shape == x.shape
  np.testing.assert_allclose(np.vdot(ax, y), np.vdot(x, ay), rtol=1e-4)
  biased = {**up, 'bias': np.array([1, 2, 3], np.float32)}
  shifted = layers.TransposedConv(3).apply({'params': biased}, y)
  by = np.asarray(shifted - ay).reshape(-1, 3)
  np.testing.assert_allclose(by, by * 0 + [[1, 2, 3]], atol=1e-4)


def test_frame_norm_is_over_the_whole_frame():
  x = 3 * np.asarray(draw(0, 2, 4, 5, 6)) + 7
  params = {'scale': np.asarray(draw(1, 6)), 'bias': np.asarray(draw(2, 6))}
  actual = layers.FrameNorm().apply({'params': {'LayerNorm_0': params}}, x)
  mean = x.mean((1, 2, 3), keepdims=True)
  std = x.std((1, 2, 3), keepdims=True)
  expected = (x - mean) / std * params['scale'] + params['bias']
  np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_space_and_depth():
  x = np.arange(2 * 8 * 12 * 3, dtype=np.float32).reshape(2, 8, 12, 3)
  deep = layers.space_to_depth(x, 4)
  assert deep.shape == (2, 2, 3, 48)
  patch = x[1, 4:8, 8:12].reshape(-1)  # of cell (1, 2), row by row
  np.testing.assert_array_equal(deep[1, 1, 2], patch)
  np.testing.assert_array_equal(layers.depth_to_space(deep, 4), x)
