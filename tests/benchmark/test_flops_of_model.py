"""FLOPs of a whole CGQN: against its unrolled form, and a step by hand."""

import jax
import jax.numpy as jnp

from cgqn_jax.benchmark.flops import count_flops
from cgqn_jax.models.cgqn import CGQN
from cgqn_jax.models.networks import Networks
from cgqn_jax.types import Batch, Scene


def cgqn_update(draw_steps: int):
  """Loss and gradient of a narrow CGQN, and its arguments.

  At 64x64: below that the layers write a convolution out as a matrix on CPUs.
  """
  net = Networks(
    frame_size=64,
    view_size=1,
    draw_steps=draw_steps,
    nf_to_hidden=8,
    nf_enc=12,
    nf_to_obs=10,
    nf_dec=6,
    nf_z=3,
    stride_to_hidden=2,
    stride_to_obs=2,
    kernel=5,
    encoder_widths=(4, 4, 4, 4),
    posterior_sees_prior=True,
    z_per_step=True,
    renderer_sees_context=False,
  )
  cgqn = CGQN(net, lambda step: jnp.float32(0.5))
  scene = Scene(jnp.zeros((2, 3, 64, 64, 3)), jnp.zeros((2, 3, 1)))
  mask = jnp.ones((2, 3), bool)
  ids = jnp.arange(2)
  batch = Batch(scene, mask, scene, mask, jnp.ones((2,)), ids)
  key = jax.random.key(0)
  params = jax.eval_shape(cgqn.init, key)

  def loss(params):
    return cgqn.loss(params, key, batch, jnp.int32(0))[0]

  return loss, params


def test_cgqn_equals_its_unrolled_form():
  loss, params = cgqn_update(draw_steps=4)
  gradient = jax.value_and_grad(loss)
  scanned = count_flops(loss, params), count_flops(gradient, params)
  with jax.disable_jit():  # every scan becomes a Python loop
    unrolled = count_flops(loss, params), count_flops(gradient, params)
  assert scanned[0] == unrolled[0] > 0
  # A loop written out need not derive by the zeros that it starts from.
  assert 0.98 * scanned[1] < unrolled[1] <= scanned[1]


def test_cgqn_draw_step_by_hand():
  """What one more DRAW step costs forwards; widths as in `cgqn_update`."""
  scenes, targets, cells, kernel = 2, 3, 8 * 8, 5 * 5
  head = kernel * 8 * (2 * 3)
  prior = kernel * (3 + 8) * (4 * 8) + head
  posterior = kernel * (3 + 8 + 8) * (4 * 8) + head
  z_gates = kernel * 3 * (4 * 8)
  query = (2 * 2 * 10) * 6 + kernel * (6 + 8) * (4 * 8) + 8 * (2 * 2 * 10)
  expected = 2 * scenes * cells * (prior + posterior + z_gates)
  expected += 2 * scenes * targets * cells * query
  four, five = cgqn_update(4), cgqn_update(5)
  assert count_flops(*five) - count_flops(*four) == expected
