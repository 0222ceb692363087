"""The deterministic renderer M_gamma (paper, section 3.2 and appendix B).

An LSTM that writes on a canvas, given the sampled latent and the viewpoint at
every step. z's part of the gates is convolved once per scene, for all its
queries; a viewpoint's part is a linear combination of V fixed maps.
"""

import flax.linen as nn
import jax.numpy as jnp

from cgqn_jax.models.layers import (
  KERNEL_INIT,
  Conv,
  ConvLSTM,
  PatchConv,
  PatchDeconv,
  scan,
  view_gains,
)
from cgqn_jax.types import Array


class Renderer(nn.Module):
  """z and viewpoints -> frames, K steps with shared weights.

  Fields are named as in the paper's table: hidden is nf_to_hidden, decoding
  nf_dec, canvas nf_to_obs, stride stride_to_obs. output_stride maps the
  canvas to the frame: 4 at the paper's sizes.
  """

  steps: int
  hidden: int
  decoding: int
  canvas: int
  stride: int
  output_stride: int
  kernel: int
  latent_features: int
  view_features: int
  z_per_step: bool
  cpu: bool = True

  def setup(self) -> None:
    static = self.latent_features + self.view_features
    self.decode = PatchConv(self.decoding, self.stride)
    self.lstm = ConvLSTM(
      self.hidden, static, self.decoding, self.kernel, self.cpu
    )
    self.write = PatchDeconv(self.canvas, self.stride)
    # Black at first. What random weights write has an error of a frame's own
    # scale, and undoing it costs hundreds of updates (docs/learning_draw.md).
    self.output = PatchDeconv(
      3, self.output_stride, kernel_init=nn.initializers.zeros_init()
    )

  def __call__(
    self, z: Array, views: Array, canvas: Array | None = None
  ) -> Array:
    """Renders every query of every scene.

    Args:
      z: [B, K, h, w, F] what step k is fed; [B, 1, h, w, F] when every step
        is fed the same, as when the latents of all steps are concatenated.
      views: [B, T, V].
      canvas: [B, T, H/4, W/4, canvas] to start from; empty by default.

    Returns:
      [B, T, H, W, 3] mean frames, linear (not clipped).
    """
    batch, targets = views.shape[:2]
    height, width = z.shape[2:4]
    z_gates = jnp.repeat(self.lstm.static_gates(z), targets, axis=0)
    view_gates = self.lstm.view_gates(
      views.reshape((batch * targets, -1)), height, width
    )

    recurrent = self.lstm.recurrent_operator(height, width, batch * targets)

    def step(
      self: 'Renderer',
      carry: tuple,
      z_gates: Array,
      view_gates: Array,
      recurrent: Array,
    ):
      state, canvas = carry
      static = z_gates + view_gates
      state = self.lstm(state, self.decode(canvas), static, recurrent)
      return (state, canvas + self.write(state[0])), None

    if not self.z_per_step:
      z_gates = z_gates[:, 0]
    maps = (batch * targets, height, width)
    size = (height * self.stride, width * self.stride, self.canvas)
    if canvas is None:
      canvas = jnp.zeros((batch, targets, *size))
    canvas = canvas.reshape((batch * targets, *size))
    carry = (self.lstm.initial_carry(maps), canvas)
    over_z = 1 if self.z_per_step else nn.broadcast
    in_axes = (over_z, nn.broadcast, nn.broadcast)
    steps = scan(step, in_axes=in_axes, length=self.steps)
    (_, canvas), _ = steps(self, carry, z_gates, view_gates, recurrent)
    frames = self.output(canvas)
    return frames.reshape((batch, targets) + frames.shape[1:])


class Sketch(nn.Module):
  """The canvas of each query before the first step; not the paper's.

  One hidden layer of rectified sums of context, latent and viewpoint: what a
  cell shows of the context can at once depend on which view is asked for,
  which the LSTM's gates are slow to learn. With view_gains the viewpoint also
  scales the sum of the other two.
  """

  features: int
  stride: int
  view_gains: bool = False
  cpu: bool = True

  @nn.compact
  def __call__(self, r: Array, z: Array, views: Array) -> Array:
    """r [B, H/4, W/4, R], z [B, h, w, F], views [B, T, V] -> [B, T, ...]."""
    hidden = 4 * self.features
    shared = Conv(hidden, 3, cpu=self.cpu, name='context')(r)
    shared += PatchDeconv(hidden, self.stride, name='latent')(z)
    shared = shared[:, None]
    if self.view_gains:
      shared *= view_gains(hidden, views)
    view = nn.Dense(
      hidden, use_bias=False, kernel_init=KERNEL_INIT, name='view'
    )
    x = nn.relu(shared + view(views)[:, :, None, None])
    return nn.Dense(self.features, kernel_init=KERNEL_INIT, name='output')(x)
