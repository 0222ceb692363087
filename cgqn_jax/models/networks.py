"""Encoder, ConvDRAW and renderer under one tree of parameters (section 3).

r = sum_j M_theta(v_j, f_j);  z ~ P_phi(z | r) or Q_psi(z | r, r');
f_i = M_gamma(z, v_i).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cgqn_jax.models.conv_draw import ConvDraw
from cgqn_jax.models.layers import Conv, PatchConv, broadcast_view, view_gains
from cgqn_jax.models.model import flatten
from cgqn_jax.models.renderer import Renderer, Sketch
from cgqn_jax.types import Array, Batch, Normal, Scene, to_unit


class LatentNetworks(nn.Module):
  """What both families of networks have: the bounds of CGQN and of GQN.

  A family adds `latent_shape`, `encode`, `encode_each`, `sample_prior`, `infer`
  and `render`. Latents are arrays, or trees of them.
  """

  def bound(
    self, batch: Batch, noise: Any, views: Array, relaxed: Array | float = 0.0
  ) -> tuple[Array, Any, Any, Any]:
    """One posterior draw per scene: views [B, T, V] of it, z, q, p (CGQN).

    Choices are relaxed by a share of 0 to 1, see `densities.sample`.
    """
    r = self.encode(batch.context, batch.context_mask)
    r_target = self.encode(batch.target, batch.target_mask)
    z, posterior, prior = self.infer(r, r_target, noise, relaxed=relaxed)
    return self.render(z, r, views), z, posterior, prior

  def bound_each(
    self, batch: Batch, noise: Any, relaxed: Array | float = 0.0
  ) -> tuple[Array, Any, Any, Any]:
    """One posterior draw per target, noise [B, T, ...]: the same (GQN)."""
    r = self.encode(batch.context, batch.context_mask)[:, None]
    r_target = self.encode_each(batch.target)
    z, posterior, prior = self.infer(
      r, r_target, noise, batch.target.views, relaxed
    )
    mean = self.render_each(z, r, batch.target.views)
    return mean, z, posterior, prior

  def render_each(self, z: Any, r: Array, views: Array) -> Array:
    """Every query of its own latent: [B, T, ...] each -> [B, T, H, W, 3]."""
    lead = views.shape[:2]
    r = jnp.broadcast_to(r, lead + r.shape[2:])
    frames = self.render_one(*flatten((z, r, views)))
    return frames.reshape(lead + frames.shape[1:])

  def render_one(self, z: Any, r: Array, views: Array) -> Array:
    """One query [B, V] of each latent -> [B, H, W, 3]."""
    return self.render(z, r, views[:, None])[:, 0]


class Networks(LatentNetworks):
  """Encoder, ConvDRAW and renderer; fields named as in the paper's table."""

  frame_size: int
  view_size: int
  draw_steps: int
  nf_to_hidden: int
  nf_enc: int
  nf_to_obs: int
  nf_dec: int
  nf_z: int
  stride_to_hidden: int
  stride_to_obs: int
  kernel: int
  encoder_widths: tuple[int, int, int, int]
  posterior_sees_prior: bool
  z_per_step: bool
  renderer_sees_context: bool
  latent_sees_query: bool = False
  normalize_r: bool = False
  frame_scale: float = 1.0
  view_gains: bool = False
  cpu: bool = True

  @property
  def latent_shape(self) -> tuple[int, int, int, int]:
    """(K, h, w, Z) of one scene's latent."""
    grid = self.frame_size // 4 // self.stride_to_hidden
    return (self.draw_steps, grid, grid, self.nf_z)

  def setup(self) -> None:
    steps, grid, _, features = self.latent_shape
    latent = features * (1 if self.z_per_step else steps)
    if self.renderer_sees_context:
      self.context_projection = PatchConv(self.nf_enc, self.stride_to_hidden)
      self.sketch = Sketch(
        self.nf_to_obs, self.stride_to_obs, self.view_gains, self.cpu
      )
      latent += self.nf_enc
    self.encoder = Encoder(
      self.encoder_widths, self.frame_scale, self.view_gains, self.cpu
    )
    self.draw = ConvDraw(
      hidden=self.nf_to_hidden,
      encoding=self.nf_enc,
      latent=self.nf_z,
      stride=self.stride_to_hidden,
      kernel=self.kernel,
      posterior_sees_prior=self.posterior_sees_prior,
      view_features=self.view_size if self.latent_sees_query else 0,
      cpu=self.cpu,
    )
    self.renderer = Renderer(
      steps=steps,
      hidden=self.nf_to_hidden,
      decoding=self.nf_dec,
      canvas=self.nf_to_obs,
      stride=self.stride_to_obs,
      output_stride=self.frame_size // (grid * self.stride_to_obs),
      kernel=self.kernel,
      latent_features=latent,
      view_features=self.view_size,
      z_per_step=self.z_per_step,
      cpu=self.cpu,
    )

  def encode(self, scene: Scene, mask: Array) -> Array:
    """Scene [B, N, ...], mask [B, N] -> r [B, H/4, W/4, R]."""
    each = self._features(scene)
    total = jnp.einsum('bnhwr,bn->bhwr', each, mask.astype(each.dtype))
    return self._scaled(total)

  def encode_each(self, scene: Scene) -> Array:
    """Scene [B, N, ...] -> r of each frame alone, [B, N, H/4, W/4, R]."""
    return self._scaled(self._features(scene))

  def sample_prior(
    self, r: Array, noise: Array, views: Array | None = None
  ) -> Array:
    """Latents of the prior; shapes as in `infer`."""
    return self.draw.sample_prior(r, noise, views)

  def infer(
    self,
    r: Array,
    r_target: Array,
    noise: Array,
    views: Array | None = None,
    relaxed: Array | float = 0.0,
  ) -> tuple[Array, Normal, Normal]:
    """Latents of the posterior and both densities: see `ConvDraw.infer`.

    r and r_target [..., H/4, W/4, R] broadcast against the noise
    [..., K, h, w, Z], and so do the queries [..., V], which the nets see only
    with `latent_sees_query`. There are no choices that could be relaxed.
    """
    del relaxed
    return self.draw.infer(r, r_target, noise, views)

  def render(self, z: Array, r: Array, views: Array) -> Array:
    """z [B, K, h, w, Z], r, views [B, T, V] -> [B, T, H, W, 3].

    r [B, H/4, W/4, R] is used only where `renderer_sees_context`: projected
    to the latent grid beside z, and in the sketch that the writing starts on.
    """
    every = jnp.moveaxis(z, 1, -2)
    every = every.reshape(every.shape[:-2] + (-1,))
    fed = z if self.z_per_step else every[:, None]
    canvas = None
    if self.renderer_sees_context:
      context = self.context_projection(r)[:, None]
      context = jnp.broadcast_to(context, fed.shape[:-1] + context.shape[-1:])
      fed = jnp.concatenate([fed, context], axis=-1)
      canvas = self.sketch(r, every, views)
    return self.renderer(fed, views, canvas)

  def _features(self, scene: Scene) -> Array:
    return self.encoder(to_unit(scene.frames), scene.views)

  def _scaled(self, r: Array) -> Array:
    """A sum grows with the number of frames; at a scale of 1 it does not."""
    if not self.normalize_r:
      return r
    square = jnp.mean(r**2, axis=(-3, -2, -1), keepdims=True)
    return r * jax.lax.rsqrt(square + 1e-6)  # of no frames at all: 0


class Encoder(nn.Module):
  """M_theta: a frame and its viewpoint -> a representation (appendix B).

  Four convolutions, ReLU between them and none after the last; the viewpoint
  is broadcast over the frame and concatenated to it. Not the paper's, and off:
  frames times frame_scale, and with view_gains a viewpoint that also scales the
  features, for a sum over frames to keep apart what was seen when.
  """

  widths: tuple[int, int, int, int] = (8, 16, 32, 32)
  frame_scale: float = 1.0
  view_gains: bool = False
  cpu: bool = True

  @nn.compact
  def __call__(self, frames: Array, views: Array) -> Array:
    """frames [..., H, W, 3], views [..., V] -> [..., H/4, W/4, R]."""
    height, width = frames.shape[-3:-1]
    first, second, third, last = self.widths
    frames = frames * self.frame_scale
    x = jnp.concatenate([frames, broadcast_view(views, height, width)], axis=-1)
    x = nn.relu(PatchConv(first, 2)(x))
    x = nn.relu(PatchConv(second, 2)(x))
    x = nn.relu(Conv(third, 3, cpu=self.cpu)(x))
    x = Conv(last, 3, cpu=self.cpu)(x)
    return x * view_gains(last, views) if self.view_gains else x
