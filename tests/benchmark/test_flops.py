"""FLOPs against numbers by hand and against loops written out."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import pytest

from cgqn_jax.benchmark.flops import count_flops

MATMUL = 2 * 4 * 8 * 16


def zeros(*shape):
  return jnp.zeros(shape, jnp.float32)


def matmul(x, w):
  return jnp.sum(x @ w)


def convolve(x, kernel, stride=1, padding='SAME', **groups):
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    **groups,
  )


def deconvolve(x, kernel):
  return lax.conv_transpose(
    x, kernel, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def test_products():
  assert count_flops(matmul, zeros(4, 8), zeros(8, 16)) == MATMUL == 1024
  shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, 8), (8, 16))]
  assert count_flops(matmul, *shapes) == MATMUL
  two_axes = functools.partial(jnp.einsum, 'bijk,bjkl->bil')
  flops = count_flops(two_axes, zeros(3, 4, 5, 6), zeros(3, 5, 6, 7))
  assert flops == 2 * 3 * 4 * (5 * 6) * 7


def test_elementwise_work_is_not_counted():
  assert count_flops(lambda x: jnp.sum(jnp.tanh(x) * x), zeros(64, 64)) == 0


@pytest.mark.parametrize(
  ('x', 'kernel', 'options', 'products'),
  [
    ((2, 8, 8, 3), (5, 5, 3, 7), {}, 2 * 8 * 8 * 7 * (5 * 5 * 3)),
    ((2, 8, 8, 3), (5, 5, 3, 7), {'padding': 'VALID'},
     2 * 4 * 4 * 7 * (5 * 5 * 3)),
    ((2, 8, 8, 3), (5, 5, 3, 7), {'stride': 2}, 2 * 4 * 4 * 7 * (5 * 5 * 3)),
    ((1, 6, 6, 3), (2, 2, 3, 5), {'stride': 2}, 3 * 3 * 5 * (2 * 2 * 3)),
    ((2, 8, 8, 6), (3, 3, 3, 10), {'feature_group_count': 2},
     2 * 8 * 8 * 10 * (3 * 3 * 3)),
    ((4, 8, 8, 6), (3, 3, 6, 10), {'batch_group_count': 2},
     2 * 8 * 8 * 10 * (3 * 3 * 6)),
  ],
)  # fmt: skip
def test_convolution(x, kernel, options, products):
  fn = functools.partial(convolve, **options)
  assert count_flops(fn, zeros(*x), zeros(*kernel)) == 2 * products


@pytest.mark.parametrize(
  ('size', 'kernel', 'products'),
  [
    # Every input element meets every tap once: 3x3 -> 6x6.
    (3, 2, 3 * 3 * 5 * (2 * 2 * 7)),
    # Each of 8x8 outputs is met by 2x2 taps.
    (4, 4, 8 * 8 * 7 * (2 * 2 * 5)),
  ],
)
def test_transposed_convolution_skips_the_holes(size, kernel, products):
  x, kernel = zeros(1, size, size, 5), zeros(kernel, kernel, 5, 7)
  out = jax.eval_shape(deconvolve, x, kernel)
  assert out.shape == (1, 2 * size, 2 * size, 7)
  assert count_flops(deconvolve, x, kernel) == 2 * products


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('groups', [1, 2])
def test_gradients_of_a_convolution_cost_a_convolution_each(stride, groups):
  def loss(x, kernel):
    out = convolve(x, kernel, stride, feature_group_count=groups)
    return jnp.sum(jnp.square(out))

  x, kernel = zeros(2, 8, 8, 4), zeros(5, 5, 4 // groups, 6)
  forward = count_flops(loss, x, kernel)
  size = 8 // stride
  assert forward == 2 * (2 * size * size * 6) * (5 * 5 * 4 // groups)
  for argument in (0, 1):
    both = count_flops(jax.value_and_grad(loss, argument), x, kernel)
    assert both == 2 * forward
  assert count_flops(jax.grad(loss, (0, 1)), x, kernel) == 3 * forward


def test_patches_times_kernel_cost_the_convolution():
  def patches_product(x, kernel):
    padded = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    patches = jnp.concatenate(
      [padded[:, i : i + 4, j : j + 4] for i in range(5) for j in range(5)], -1
    )
    return patches @ kernel.reshape((-1, 7))

  x, kernel = zeros(2, 4, 4, 3), zeros(5, 5, 3, 7)
  expected = 2 * (2 * 4 * 4 * 7) * (5 * 5 * 3)
  assert count_flops(patches_product, x, kernel) == expected
  assert count_flops(convolve, x, kernel) == expected


def test_gradient_of_a_matmul():
  x, w = zeros(4, 8), zeros(8, 16)
  assert count_flops(jax.value_and_grad(matmul), x, w) == 2 * MATMUL
  assert count_flops(jax.value_and_grad(matmul, (0, 1)), x, w) == 3 * MATMUL


def test_scan_of_5_equals_the_unrolled_loop():
  def step(h, x):
    return jnp.tanh(h @ w + x), None

  def scanned(h, xs):
    return lax.scan(step, h, xs)[0]

  def unrolled(h, xs):
    for x in xs:
      h, _ = step(h, x)
    return h

  w = zeros(8, 8)
  h, xs = zeros(4, 8), zeros(5, 4, 8)
  assert count_flops(scanned, h, xs) == 5 * (2 * 4 * 8 * 8)
  assert count_flops(unrolled, h, xs) == 5 * (2 * 4 * 8 * 8)
  # Backwards too, where the last state's gradient is one product a step.
  for fn in (scanned, unrolled):
    gradient = jax.value_and_grad(lambda h, xs, fn=fn: jnp.sum(fn(h, xs)))
    assert count_flops(gradient, h, xs) == 10 * (2 * 4 * 8 * 8)


@pytest.mark.parametrize('unroll', [1, 3, True])
def test_nested_scan_unrolled_or_not(unroll):
  w = zeros(8, 8)

  def inner(h, _):
    return h @ w, None

  def outer(h, _):
    h, _ = lax.scan(inner, h, length=3)
    return h @ w, None

  flops = count_flops(
    lambda h: lax.scan(outer, h, length=6, unroll=unroll)[0], zeros(4, 8)
  )
  assert flops == 6 * (3 + 1) * (2 * 4 * 8 * 8)


@jax.custom_jvp
def custom_jvp_product(x, w):
  return matmul(x, w)


@custom_jvp_product.defjvp
def _(primals, tangents):
  (x, w), (dx, dw) = primals, tangents
  return matmul(x, w), matmul(dx, w) + matmul(x, dw)


@jax.custom_vjp
def custom_vjp_product(x, w):
  return matmul(x, w)


custom_vjp_product.defvjp(
  lambda x, w: (matmul(x, w), (x, w)),
  lambda saved, g: (g * (saved[0] + 1), g * (saved[1] + 1)),
)


@pytest.mark.parametrize(
  'wrapped',
  [jax.jit(matmul), jax.checkpoint(matmul), custom_jvp_product,
   custom_vjp_product, jax.jit(jax.jit(jax.checkpoint(matmul)))],
)  # fmt: skip
def test_inside_calls(wrapped):
  assert count_flops(wrapped, zeros(4, 8), zeros(8, 16)) == MATMUL


def test_the_custom_gradient_is_what_counts():
  x, w = zeros(4, 8), zeros(8, 16)
  jvp = jax.value_and_grad(custom_jvp_product, (0, 1))
  assert count_flops(jvp, x, w) == 3 * MATMUL
  vjp = jax.value_and_grad(custom_vjp_product, (0, 1))
  assert count_flops(vjp, x, w) == MATMUL  # its backward has no product


def test_recomputation_counts_again():
  def block(x, w):
    return jnp.sum(jnp.tanh(jnp.tanh(x @ w) @ w.T))

  x, w = zeros(4, 8), zeros(8, 16)
  assert count_flops(jax.value_and_grad(block, (0, 1)), x, w) == 6 * MATMUL
  remat = jax.value_and_grad(jax.checkpoint(block), (0, 1))
  assert count_flops(remat, x, w) == 8 * MATMUL


def test_cond_counts_its_dearest_branch():
  def fn(x, w):
    return lax.switch(
      x[0, 0].astype(jnp.int32),
      [lambda: 0.0 * x, lambda: x @ w, lambda: (x @ w) @ w],
    )

  assert count_flops(fn, zeros(4, 8), zeros(8, 8)) == 2 * (2 * 4 * 8 * 8)


def test_fori_loop_between_integers_counts():
  w = zeros(8, 8)
  flops = count_flops(
    lambda h: lax.fori_loop(0, 7, lambda _, h: h @ w, h), zeros(4, 8)
  )
  assert flops == 7 * (2 * 4 * 8 * 8)


def test_while_is_refused_unless_it_holds_nothing_to_count():
  def loop(body, x):
    return lax.while_loop(lambda x: jnp.sum(x) < 1, body, x)

  with pytest.raises(ValueError, match=r'`while`.*1024 FLOPs.*lax\.scan'):
    count_flops(functools.partial(loop, lambda x: x @ x), zeros(8, 8))
  assert count_flops(functools.partial(loop, lambda x: x + 1), zeros(8, 8)) == 0


def test_pmap_counts_all_devices():
  devices = jax.local_device_count()
  mapped = jax.pmap(lambda x, w: x @ w, in_axes=(0, None))
  flops = count_flops(mapped, zeros(devices, 4, 8), zeros(8, 16))
  assert flops == devices * MATMUL


def test_shard_map_counts_all_devices():
  mesh = jax.sharding.AbstractMesh((4,), ('data',))
  spec = jax.sharding.PartitionSpec
  sharded = jax.shard_map(
    lambda x, w: x @ w,
    mesh=mesh,
    in_specs=(spec('data'), spec()),
    out_specs=spec('data'),
    check_vma=False,
  )
  assert count_flops(jax.jit(sharded), zeros(4, 8), zeros(8, 16)) == MATMUL
