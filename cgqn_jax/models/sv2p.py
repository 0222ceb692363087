"""SV2P: CDNA with a latent that a second network infers from the whole video.

The paper's stochastic baseline with a latent per video (section 4.1):
Babaeizadeh et al. 2018. In training a tower sees all frames; the prior sees
none. Three phases: the predictor alone on noise, then with the tower's latents,
at last with the KL charged. As in `tensor2tensor`, the tower's heads are not
normalised; here the KL is in nats, summed, and counted as often as z is drawn.
"""

import flax.linen as nn
import jax.numpy as jnp

from cgqn_jax.models import densities
from cgqn_jax.models.cdna import Predictor, fed_truth, roll_out
from cgqn_jax.models.layers import Conv, FrameNorm, StridedConv, scale
from cgqn_jax.models.model import flatten, repeat
from cgqn_jax.models.sequential import Noise, Stage, pick
from cgqn_jax.types import Array, Normal


class Tower(nn.Module):
  """All frames of a video -> q(z | video), a map of H/8 x W/8."""

  width: float
  latent: int
  cpu: bool = True

  @nn.compact
  def __call__(self, video: Array) -> Normal:
    """video [B, N, H, W, 3] -> mean and log_std [B, H/8, W/8, Z]."""
    c32, c64 = scale(32, self.width), scale(64, self.width)
    x = jnp.moveaxis(video, 1, -2)
    x = x.reshape(x.shape[:-2] + (-1,))
    for layer in (
      StridedConv(c32, 3),
      StridedConv(c64, 3),
      Conv(c64, 3, cpu=self.cpu),
    ):
      x = FrameNorm()(nn.relu(layer(x)))
    mean = StridedConv(self.latent, 3, name='mean')(x)
    log_variance = StridedConv(self.latent, 3, name='log_variance')(x)
    return densities.normal(mean, log_variance)


class SV2PNetworks(nn.Module):
  """Predictor and tower under one tree of parameters.

  latent is Z. One z is drawn for a video, or with `time_variant` one for every
  step, all from the same posterior.
  """

  frame_size: int
  num_frames: int
  width: float
  kernel_size: int
  num_kernels: int
  latent: int
  time_variant: bool
  cpu: bool = True

  @property
  def latent_shape(self) -> tuple[int, int, int, int]:
    """(K, h, w, Z) of one video's latent; K is 1 or N - 1."""
    grid = self.frame_size // 8
    draws = self.num_frames - 1 if self.time_variant else 1
    return (draws, grid, grid, self.latent)

  def setup(self) -> None:
    self.predictor = Predictor(
      self.width, self.kernel_size, self.num_kernels, self.cpu
    )
    self.tower = Tower(self.width, self.latent, self.cpu)

  def bound(
    self, video: Array, num_context: int, noise: Noise, stage: Stage
  ) -> tuple[Array, Array, Normal, Normal]:
    """One draw: the targets predicted, z [B, K, h, w, Z], q, p."""
    zeros = jnp.zeros_like(noise.latent)
    prior = Normal(zeros, zeros)
    inferred = self.tower(video)
    # While not informed, q is the prior, so its KL is 0.
    posterior = Normal(
      *(jnp.where(stage.informed, x[:, None], zeros) for x in inferred)
    )
    z = densities.sample(posterior, noise.latent)
    feed = fed_truth(noise.coin, num_context, stage.truth)
    frames = self.predictor.roll(
      video[:, :-1], feed, _for_steps(z, feed.shape[1])
    )
    return frames[:, num_context - 1 :], z, posterior, prior

  def sample(self, context: Array, noise: Array, index: Array) -> Array:
    """Futures [S, B, T, H, W, 3]; z reaches already the context's steps."""
    samples, batch = noise.shape[:2]
    steps = max(context.shape[1], self.num_frames - 1)
    z = _for_steps(flatten(noise), steps)
    frames = roll_out(self.predictor, repeat(context, samples), z)
    frames = pick(frames, repeat(index, samples))
    return frames.reshape((samples, batch) + frames.shape[1:])


def _for_steps(z: Array, steps: int) -> Array:
  """z [B, K, h, w, Z] for each of the steps: [B, steps, h, w, Z]."""
  if z.shape[1] == 1:
    z = jnp.broadcast_to(z, z.shape[:1] + (steps,) + z.shape[2:])
  return z[:, :steps]
