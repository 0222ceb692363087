"""Residual networks: blocks modulated by the viewpoint, latents in two parts.

The second family of networks (`model.networks = 'residual'`), for budgets of
hours on a CPU. The equations are the paper's (section 3): r from a sum over
frames, one z a scene, z ~ P(z | r) or Q(z | r, r'), a deterministic renderer a
query. What differs from appendix B is how each of them is computed:

* The viewpoint scales and shifts every channel of every block, and rotates
  pairs of channels of r, as it does the harmonics of anything that it sees:
  of a room by the camera's yaw, of a video by time. So r lives in the scene's
  own frame, and a query turns it into one of relative angles or times.
* z has a local and a global part in each step, for what concerns a whole scene
  cells that do not know of each other cannot say together. Either they are
  numbers, a map and a vector (`Numbers`), or choices (`Chosen`): one of the
  state's cells and one of some codes, each drawn from a categorical. What there
  is to know of these scenes (a new color, which shape comes next, a digit) is
  one of several things. Many numbers tell it by many small hints, which can be
  summed but not drawn; of choices, a sample is as clear as a reconstruction.
  While the KL is not all charged yet, choices are relaxed: a softmax and its
  noise find what to mean, where choices would end as one that is always made.
* z of a room is of choices, about one frame more, seen from where nobody has
  looked (`Imagined`).
* The posterior is told relative to the prior: a mean at most 4 deviations away,
  scores changed within bounds. Without, the KL explodes.
* r is divided by the root of the number of frames, and the renderer sees it.
"""

from collections.abc import Callable
import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cgqn_jax.models import densities
from cgqn_jax.models.layers import (
  KERNEL_INIT,
  Conv,
  PatchConv,
  PatchDeconv,
  add_bias,
  broadcast_view,
  embed_views,
)
from cgqn_jax.models.networks import LatentNetworks
from cgqn_jax.types import (
  Array,
  Categorical,
  Choices,
  LatentParts,
  Normal,
  Scene,
  to_unit,
)

PATCH = 4  # pixels along a cell's side
FREQUENCIES = 5  # sin and cos of 2^i pi t
HARMONICS = 8  # of a camera's yaw, or of pi t
CAMERA = 7  # numbers of a camera's view; 3 and 4 are sin and cos of its yaw

_SMALL = nn.initializers.variance_scaling(0.01, 'fan_in', 'truncated_normal')
_ZEROS = nn.initializers.zeros_init()


class ResidualNetworks(LatentNetworks):
  """Encoder, latent and renderer, with the interface of `Networks`.

  width: channels of every block; representation: R; glance: channels of r
  that are the same in all cells, which views do not rotate; map_latent, which
  may be 0, and vector_latent: Z and G of each of latent_steps, both 0 for a
  latent of choices; codes: of which a step chooses one, or of each of the
  softmaxes that read a vector, where 0 is to read its numbers; fine: channels
  of a last stage of the renderer on a grid twice as fine, or 0 for none;
  rotated: whether views rotate r; bfloat16: of the blocks' convolutions, for
  accelerators.

  Which latent it is follows from the views and the sizes:
    `Certain`: rooms whose cameras rotate r, without latent_steps.
    `Imagined`: such rooms with steps.
    `Numbers`: all else with a vector_latent.
    `Chosen`: all else without.
  """

  frame_size: int
  view_size: int
  width: int
  representation: int
  encoder_blocks: int
  renderer_blocks: int
  latent_steps: int
  map_latent: int
  vector_latent: int
  rotated: bool
  bfloat16: bool
  codes: int
  fine: int
  glance: int = 0
  latent_sees_query: bool = False
  cpu: bool = True

  @property
  def of_rooms(self) -> bool:
    """Cameras rotate r; then the latent is `Imagined`, or `Certain`."""
    return self.rotated and self.view_size == CAMERA

  @property
  def grid(self) -> int:
    """h = w of every map."""
    return self.frame_size // PATCH

  @property
  def latent_shape(self) -> LatentParts | Choices:
    """One scene's latent: numbers, or choices among cells and among codes."""
    steps, grid = self.latent_steps, self.grid
    if not self.vector_latent:
      return Choices((steps, grid**2), (steps, self.codes))
    cells = (steps, grid, grid, self.map_latent)
    return LatentParts(cells, (steps, self.vector_latent))

  def setup(self) -> None:
    self.encoder = Encoder(
      self.width,
      self.representation,
      self.encoder_blocks,
      self.glance,
      self.rotated,
      self.bfloat16,
      self.cpu,
    )
    if self.of_rooms and not self.latent_steps:
      self.latent = Certain(self.width, self.bfloat16, self.cpu)
    elif self.of_rooms:
      self.latent = Imagined(
        self.width,
        self.representation,
        self.glance,
        self.latent_steps,
        self.codes,
        self.bfloat16,
        self.cpu,
      )
    elif self.vector_latent:
      self.latent = Numbers(
        self.width,
        self.latent_steps,
        self.map_latent,
        self.vector_latent,
        self.codes,
        self.bfloat16,
        self.cpu,
      )
    else:
      self.latent = Chosen(
        self.width,
        self.latent_steps,
        self.codes,
        self.bfloat16,
        self.cpu,
      )
    self.renderer = Renderer(
      self.width,
      self.representation,
      self.renderer_blocks,
      self.fine,
      self.rotated,
      self.bfloat16,
      self.cpu,
    )

  def encode(self, scene: Scene, mask: Array) -> Array:
    """Scene [B, N, ...], mask [B, N] -> r [B, h, w, C], as `encode_each`'s.

    The sum over frames, divided by the root of their number.
    """
    mask = mask.astype(jnp.float32)
    each = self.encode_each(scene)
    total = jnp.einsum('bnhwr,bn->bhwr', each, mask)
    count = jnp.maximum(jnp.sum(mask, axis=1), 1)
    return total * jax.lax.rsqrt(count)[:, None, None, None]

  def encode_each(self, scene: Scene) -> Array:
    """Scene [B, N, ...] -> r of each frame alone, [B, N, h, w, C].

    C is R channels that views rotate, then glance ones, the same in all cells;
    of rooms also the sine and cosine of the camera's yaw.
    """
    each = self.encoder(to_unit(scene.frames), scene.views)
    return with_looks(each, scene.views) if self.of_rooms else each

  def sample_prior(
    self, r: Array, noise: Any, views: Array | None = None
  ) -> Any:
    """Latents of the prior; shapes as in `infer`."""
    return self.latent.sample_prior(r, noise, self._seen(views))

  def infer(
    self,
    r: Array,
    r_target: Array,
    noise: Any,
    views: Array | None = None,
    relaxed: Array | float = 0.0,
  ) -> tuple[Any, Any, Any]:
    """Latents of the posterior and both densities, step by step.

    r and r_target [..., h, w, C] broadcast against the noise, standard normals
    of the form of `latent_shape`, and so do the queries [..., V], which only a
    GQN's latent sees. Choices are relaxed by a share of 0 to 1, see
    `densities.sample`.
    """
    seen = self._seen(views)
    return self.latent.infer(r, r_target, noise, seen, relaxed)

  def render(self, z: Any, r: Array, views: Array) -> Array:
    """Latents of B scenes, r [B, h, w, C], views [B, T, V] -> frames."""
    return self._render(z, r, views, None)

  def render_one(self, z: Any, r: Array, views: Array) -> Array:
    """One query [B, V] of each latent -> [B, H, W, 3]."""
    return self._render(z, r, views[:, None], self._seen(views))[:, 0]

  def _render(
    self, z: Any, r: Array, views: Array, seen: Array | None
  ) -> Array:
    return self.renderer(*self.latent.state(r, z, seen), views)

  def _seen(self, views: Array | None) -> Array | None:
    return views if self.latent_sees_query else None


class Told(NamedTuple):
  """What the renderer is told of a scene before a view is asked for.

  r: [..., h, w, R + glance], with what is imagined, but without yaws.
  state: [..., h, w, W], what r and the latent make of the scene.
  said: [..., C] what the latent's global part means, or None: of rooms, whose
    state and r have it.
  """

  r: Array
  state: Array
  said: Array | None


def normalize(x: Array) -> Array:
  """Divides each cell's channels [..., C] by their root mean square."""
  square = jnp.mean(x**2, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(square + 1e-6)


class ViewFeatures(nn.Module):
  """Views [..., V] -> features [..., F]: waves of them, two dense layers."""

  features: int = 64

  @nn.compact
  def __call__(self, views: Array) -> Array:
    if views.shape[-1] == CAMERA:
      angles = _multiples(_angle(views), np.arange(1, HARMONICS + 1))
      x = jnp.concatenate([views, jnp.sin(angles), jnp.cos(angles)], axis=-1)
    else:
      x = embed_views(views, FREQUENCIES)
    x = nn.gelu(nn.Dense(self.features)(x))
    return nn.gelu(nn.Dense(self.features)(x))


class Modulation(nn.Module):
  """Normalised channels, scaled and shifted by linear functions of c.

  x [..., h, w, C], c [..., F] or None, where scale and shift are parameters.
  """

  @nn.compact
  def __call__(self, x: Array, c: Array | None) -> Array:
    x, channels = normalize(x), x.shape[-1]
    if c is None:
      scale = self.param('scale', nn.initializers.ones_init(), (channels,))
      scale = jnp.expand_dims(scale, range(x.ndim - 1))
      bias = self.param('bias', _ZEROS, (channels,))
      return add_bias(x * scale, bias)
    scale, shift = jnp.split(nn.Dense(2 * channels)(c), 2, axis=-1)
    return x * (1 + scale[..., None, None, :]) + shift[..., None, None, :]


class Block(nn.Module):
  """x + Conv(gelu(M(Conv(gelu(M(x)))))), M the modulation; near x at first.

  With bfloat16 the convolutions compute in it; all else stays float32.
  """

  bfloat16: bool
  cpu: bool

  @nn.compact
  def __call__(self, x: Array, c: Array | None = None) -> Array:
    y = self._convolve(Modulation()(x, c), KERNEL_INIT)
    return x + self._convolve(Modulation()(y, c), _SMALL)

  def _convolve(self, x: Array, init: nn.initializers.Initializer) -> Array:
    y = nn.gelu(x).astype(jnp.bfloat16 if self.bfloat16 else x.dtype)
    return Conv(x.shape[-1], 3, init, self.cpu)(y).astype(x.dtype)


class Encoder(nn.Module):
  """M_theta: a frame and its viewpoint -> a representation."""

  width: int
  representation: int
  blocks: int
  glance: int
  rotated: bool
  bfloat16: bool
  cpu: bool

  @nn.compact
  def __call__(self, frames: Array, views: Array) -> Array:
    """frames [..., H, W, 3], views [..., V] -> [..., h, w, R + glance]."""
    c = ViewFeatures()(views)
    x = PatchConv(self.width, PATCH)(frames)
    for _ in range(self.blocks):
      x = Block(self.bfloat16, self.cpu)(x, c)
    x = Modulation()(x, c)
    if self.rotated:
      cells = rotate(to_harmonics(self.representation, x, views), views, -1)
    else:
      cells = nn.Dense(self.representation)(x)
    if not self.glance:
      return cells
    pooled = pool(nn.gelu(nn.Dense(2 * self.width)(x)))
    return with_everywhere(cells, nn.Dense(self.glance)(pooled))


def pool(x: Array) -> Array:
  """Means and maxima over cells: [..., h, w, C] -> [..., 2 C]."""
  return jnp.concatenate([x.mean(axis=(-3, -2)), x.max(axis=(-3, -2))], axis=-1)


def with_everywhere(cells: Array, same: Array) -> Array:
  """Adds channels [..., F] that are the same in all cells [..., h, w, C]."""
  same = broadcast_view(same, *cells.shape[-3:-1])
  return jnp.concatenate([cells, same], axis=-1)


def with_looks(cells: Array, views: Array) -> Array:
  """Adds the sine and cosine of each camera's yaw to [..., h, w, C]."""
  return with_everywhere(cells, views[..., 3:5])


def without_looks(r: Array) -> Array:
  """r without what `with_looks` added."""
  return r[..., :-2]


def to_harmonics(features: int, x: Array, views: Array) -> Array:
  """Within a compact module: maps [..., h, w, C] to what a view turns, or back.

  Time leaves everything in its cell. A camera's turn moves things along the
  rows, so there the columns of each row become harmonics.
  """
  camera = views.shape[-1] == CAMERA
  return (Columns if camera else nn.Dense)(features)(x)


class Columns(nn.Module):
  """A dense layer over the columns of each row: [..., h, w, C] to F."""

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    width = x.shape[-2]
    rows = x.reshape(x.shape[:-2] + (-1,))
    rows = nn.Dense(width * self.features)(rows)
    return rows.reshape(rows.shape[:-1] + (width, self.features))


def rotate(x: Array, views: Array, direction: int) -> Array:
  """`turn` by what turns a scene: a camera's yaw, or pi t."""
  return turn(x, _angle(views), direction)


def turn(x: Array, angle: Array, direction: int) -> Array:
  """Turns pairs of channels [..., h, w, R] by harmonics 0 to 7 of an angle.

  direction is 1 or -1.
  """
  pairs = x.reshape(x.shape[:-1] + (-1, 2))
  order = np.arange(pairs.shape[-2]) % HARMONICS
  angle = _multiples(angle[..., None, None], direction * order)
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  a, b = pairs[..., 0], pairs[..., 1]
  turned = jnp.stack([a * cos - b * sin, a * sin + b * cos], axis=-1)
  return turned.reshape(turned.shape[:-2] + (-1,))


def _angle(views: Array) -> Array:
  """What turns a scene: a camera's yaw, or half a turn over a video."""
  if views.shape[-1] == CAMERA:
    return jnp.arctan2(views[..., 3], views[..., 4])
  return jnp.pi * views[..., 0]


def _multiples(angle: Array, orders: np.ndarray) -> Array:
  """Angles [...] times each of n numbers: [..., n]."""
  orders = jnp.asarray(orders, angle.dtype)
  return angle[..., None] * jnp.expand_dims(orders, range(angle.ndim))


class Numbers(nn.Module):
  """P_phi(z | r) and Q_psi(z | r, r') of a video: z is of numbers.

  The state starts from r. In each step a block moves it on, the prior of z_k is
  read off it, z_k is added to it, and a few cells tell all others what that
  makes of them. The renderer gets the last state, and the vectors once more.
  """

  width: int
  steps: int
  map_latent: int
  vector_latent: int
  codes: int
  bfloat16: bool
  cpu: bool

  def setup(self) -> None:
    each = range(self.steps)
    self.start = nn.Dense(self.width)
    self.places = Coordinates(self.width)
    self.choices = [Competition(self.width) for _ in each]
    self.features = ViewFeatures()
    self.blocks = [Block(self.bfloat16, self.cpu) for _ in each]
    self.priors = [Heads(self.map_latent, self.vector_latent) for _ in each]
    self.map_inputs = [nn.Dense(self.width) for _ in each]
    if self.codes:
      self.vector_codes = [Codes(self.codes) for _ in each]
      self.vector_inputs = [nn.Dense(self.width) for _ in each]
    else:
      self.vector_inputs = [Vector(self.width) for _ in each]
    self.last = Block(self.bfloat16, self.cpu)
    self.evidence = nn.Dense(self.width)
    self.evidence_block = Block(self.bfloat16, self.cpu)
    self.joins = [nn.Dense(self.width) for _ in each]
    self.posterior_blocks = [Block(self.bfloat16, self.cpu) for _ in each]
    self.posteriors = [Heads(self.map_latent, self.vector_latent) for _ in each]

  def sample_prior(
    self, r: Array, noise: LatentParts, views: Array | None
  ) -> LatentParts:
    """Draws z; r [..., h, w, R], noise and z as in `ResidualNetworks.infer`."""
    c = None if views is None else self.features(views)
    drawn = []
    h = self._start(r)
    for k in range(self.steps):
      h = self.blocks[k](h, c)
      prior = _of_parts(_normal, *self.priors[k](h))
      z = _of_parts(densities.sample, prior, _step(noise, k))
      drawn.append(z)
      h = self._add(h, z, k)
    return _stack(drawn)

  def state(self, r: Array, z: LatentParts, views: Array | None) -> Told:
    """The last state given all of z, and its codes or its numbers."""
    c = None if views is None else self.features(views)
    h = self._start(r)
    for k in range(self.steps):
      h = self._add(self.blocks[k](h, c), _step(z, k), k)
    each = range(self.steps)
    said = [self._said(_step(z, k).vector, k) for k in each]
    said = jnp.concatenate(said, axis=-1)
    if self.codes:
      c = _with(said, c)
    return Told(r, self.last(h, c), said)

  def infer(
    self,
    r: Array,
    r_target: Array,
    noise: LatentParts,
    views: Array | None,
    relaxed: Array | float,
  ) -> tuple[LatentParts, LatentParts, LatentParts]:
    """Draws z from the posterior; returns it and q and p of every step."""
    del relaxed  # numbers are drawn as they are
    c = None if views is None else self.features(views)
    # Normalised: the size of a sum of features grows in training, and what
    # saturates the bounds of the posterior leaves it without a gradient.
    r_normal = jnp.broadcast_to(normalize(r), r_target.shape)
    e = jnp.concatenate([r_normal, normalize(r_target)], axis=-1)
    e = normalize(self.evidence_block(self.evidence(e), c))
    steps = []
    h = self._start(r)
    # Of every sample, or target: so that all steps have as many densities.
    h = jnp.broadcast_to(h, noise.vector.shape[:-2] + h.shape[-3:])
    for k in range(self.steps):
      h = self.blocks[k](h, c)
      prior = _of_parts(_normal, *self.priors[k](h))
      seen = jnp.broadcast_arrays(normalize(h), e)
      y = self.joins[k](jnp.concatenate(seen, axis=-1))
      y = self.posterior_blocks[k](y, c)
      posterior = _of_parts(_relative, prior, *self.posteriors[k](y))
      z = _of_parts(densities.sample, posterior, _step(noise, k))
      steps.append((z, posterior, prior))
      h = self._add(h, z, k)
    return tuple(_stack(parts) for parts in zip(*steps, strict=True))

  def _add(self, h: Array, z: LatentParts, k: int) -> Array:
    said = self.vector_inputs[k](self._said(z.vector, k))
    h = h + said[..., None, None, :]
    if self.map_latent:
      h = h + self.map_inputs[k](z.map)
    return h + self.choices[k](h)

  def _said(self, vector: Array, k: int) -> Array:
    """What the vector of step k means: codes, or its own numbers."""
    return self.vector_codes[k](vector) if self.codes else vector

  def _start(self, r: Array) -> Array:
    h = self.start(r)
    return h + self.places(h)


class _OfChoices(nn.Module):
  """Prior and posterior of choices, from what `_start` and `_evidence` say.

  `_start` gives the state, the features of a query, and what else `_evidence`
  takes.
  """

  def sample_prior(
    self, r: Array, noise: Choices, views: Array | None
  ) -> Choices:
    """Draws z; all as in `ResidualNetworks.infer`."""
    h, c, *_ = self._start(r, views)
    return self.choices.sample_prior(h, c, noise)

  def infer(
    self,
    r: Array,
    r_target: Array,
    noise: Choices,
    views: Array | None,
    relaxed: Array | float,
  ) -> tuple[Choices, Choices, Choices]:
    """Draws z from the posterior; returns it and q and p of every step."""
    h, c, *looks = self._start(r, views)
    e = self._evidence(r, r_target, c, *looks)
    return self.choices.infer(h, c, e, noise, relaxed)


class Chosen(_OfChoices):
  """P_phi(z | r) and Q_psi(z | r, r') of a video: z is of choices."""

  width: int
  steps: int
  codes: int
  bfloat16: bool
  cpu: bool

  def setup(self) -> None:
    self.features = ViewFeatures()
    self.start = nn.Dense(self.width)
    self.places = Coordinates(self.width)
    self.choices = LatentSteps(
      self.width, self.steps, self.codes, self.bfloat16, self.cpu
    )
    self.evidence = nn.Dense(self.width)
    self.evidence_block = Block(self.bfloat16, self.cpu)
    self.last = Block(self.bfloat16, self.cpu)

  def state(self, r: Array, z: Choices, views: Array | None) -> Told:
    """The last state given all of z, and its codes."""
    h, c = self._start(r, views)
    h = self.choices.told(h, c, z)
    said = self.choices.said(z)
    return Told(r, self.last(h, _with(said, c)), said)

  def _start(self, r: Array, views: Array | None) -> tuple[Array, Array | None]:
    h = self.start(r)
    return h + self.places(h), None if views is None else self.features(views)

  def _evidence(self, r: Array, r_target: Array, c: Array | None) -> Array:
    # Normalised: the size of a sum of features grows in training, and what
    # saturates the bounds of the posterior leaves it without a gradient.
    r_normal = jnp.broadcast_to(normalize(r), r_target.shape)
    e = jnp.concatenate([r_normal, normalize(r_target)], axis=-1)
    return self.evidence_block(self.evidence(e), c)


class Imagined(_OfChoices):
  """P_phi(z | r) and Q_psi(z | r, r') of a room: z is of one frame more.

  The camera of that frame looks where those of the context did not; a GQN's
  is the query. In the end the state becomes features like the encoder's, which
  are added to r: what is imagined is drawn by what draws what was seen.
  """

  width: int
  representation: int
  glance: int
  steps: int
  codes: int
  bfloat16: bool
  cpu: bool

  def setup(self) -> None:
    self.aside = nn.Dense(1, kernel_init=_ZEROS)
    self.features = ViewFeatures()
    self.seen = Columns(self.width)
    self.places = Coordinates(self.width)
    self.choices = LatentSteps(
      self.width, self.steps, self.codes, self.bfloat16, self.cpu
    )
    self.last = [Block(self.bfloat16, self.cpu) for _ in range(2)]
    self.back = Columns(self.representation)
    self.glances = nn.Dense(self.glance, kernel_init=_SMALL)
    self.evidence = Columns(self.width)
    self.evidence_blocks = [Block(self.bfloat16, self.cpu) for _ in range(2)]
    self.room = Room(self.width, self.bfloat16, self.cpu)

  def state(self, r: Array, z: Choices, views: Array | None) -> Told:
    """r with what is imagined, and the room's state."""
    h, c, angle = self._start(r, views)
    h = self.choices.told(h, c, z)
    c = _with(self.choices.said(z), c)
    for block in self.last:
      h = block(h, c)
    h = normalize(h)
    imagined = turn(self.back(h), jnp.broadcast_to(angle, h.shape[:-3]), -1)
    if self.glance:
      glance = self.glances(jnp.mean(h, axis=(-3, -2)))
      imagined = with_everywhere(imagined, glance)
    plain = without_looks(r) + imagined
    return Told(plain, self.room(plain), None)

  def _start(
    self, r: Array, views: Array | None
  ) -> tuple[Array, Array | None, Array]:
    """What the imagined camera sees of r, its features, and its yaw [...]."""
    cells = normalize(r[..., : self.representation])
    if views is None:
      sin, cos = jnp.moveaxis(jnp.mean(r[..., -2:], axis=(-3, -2)), -1, 0)
      away = jnp.arctan2(-sin, 1e-6 - cos)  # of no frames at all: 0
      pooled = jnp.mean(normalize(without_looks(r)), axis=(-3, -2))
      angle = away + jnp.pi * jnp.tanh(self.aside(pooled)[..., 0])
      c = None
    else:
      c, angle = self.features(views), _angle(views)
    h = self.seen(turn(cells, angle, 1))
    return h + self.places(h), c, angle

  def _evidence(
    self, r: Array, r_target: Array, c: Array | None, angle: Array
  ) -> Array:
    del r
    e = normalize(r_target[..., : self.representation])
    e = self.evidence(turn(e, angle, 1))
    for block in self.evidence_blocks:
      e = block(e, c)
    return e


class LatentSteps(nn.Module):
  """K steps of a latent: in each a code and then a cell are chosen, and told.

  A block moves the state h on and the prior of the code is read off it. The
  code's picture is added, so that the prior of the cell knows the code: drawn
  apart, they would not always fit. Then all cells are told which of them was
  chosen, and what it holds.
  """

  width: int
  steps: int
  codes: int
  bfloat16: bool
  cpu: bool

  def setup(self) -> None:
    each = range(self.steps)
    self.blocks = [Block(self.bfloat16, self.cpu) for _ in each]
    # Blocks that only the KL teaches. What moves the state on is taught by the
    # likelihood too, which is of a thousand times as many nats.
    self.code_blocks = [Block(self.bfloat16, self.cpu) for _ in each]
    self.prior_codes = [CodeScores(self.codes, _ZEROS) for _ in each]
    self.cell_blocks = [Block(self.bfloat16, self.cpu) for _ in each]
    self.prior_cells = [CellScores(_ZEROS) for _ in each]
    self.pictures = [Picture(self.width) for _ in each]
    self.marks = [nn.Dense(self.width) for _ in each]
    self.chosen = [nn.Dense(self.width) for _ in each]
    self.competitions = [Competition(self.width) for _ in each]
    self.joins = [nn.Dense(self.width) for _ in each]
    self.posterior_blocks = [Block(self.bfloat16, self.cpu) for _ in each]
    self.posterior_codes = [CodeScores(self.codes, KERNEL_INIT) for _ in each]
    self.posterior_cells = [CellScores(KERNEL_INIT) for _ in each]

  def sample_prior(self, h: Array, c: Array | None, noise: Choices) -> Choices:
    """Draws z given the state h [..., h, w, W] and features c of a query."""
    drawn = []
    for k in range(self.steps):
      h = self.blocks[k](h, c)
      step = _chosen(noise, k)
      code = densities.sample(self._prior_code(h, c, k), step.code)
      h = self._show(h, code, k)
      cell = densities.sample(self._prior_cell(h, c, k), step.cell)
      h = self._mark(h, cell, k)
      drawn.append(Choices(cell, code))
    return _stacked(drawn)

  def infer(
    self,
    h: Array,
    c: Array | None,
    e: Array,
    noise: Choices,
    relaxed: Array | float,
  ) -> tuple[Choices, Choices, Choices]:
    """Draws z given evidence e [..., h, w, W]; also q and p of every step."""
    steps = []
    e = normalize(e)
    draw = functools.partial(densities.sample, relaxed=relaxed)
    # Of every sample, or target: so that all steps have as many densities.
    h = jnp.broadcast_to(h, noise.code.shape[:-2] + h.shape[-3:])
    for k in range(self.steps):
      h = self.blocks[k](h, c)
      seen = jnp.broadcast_arrays(normalize(h), e)
      y = self.joins[k](jnp.concatenate(seen, axis=-1))
      y = self.posterior_blocks[k](y, c)
      step = _chosen(noise, k)
      p_code = self._prior_code(h, c, k)
      q_code = _rescored(p_code, self.posterior_codes[k](y))
      code = draw(q_code, step.code)
      h = self._show(h, code, k)
      p_cell = self._prior_cell(h, c, k)
      q_cell = _rescored(p_cell, self.posterior_cells[k](y))
      cell = draw(q_cell, step.cell)
      h = self._mark(h, cell, k)
      z, q, p = (cell, code), (q_cell, q_code), (p_cell, p_code)
      steps.append([Choices(*parts) for parts in (z, q, p)])
    return tuple(_stacked(parts) for parts in zip(*steps, strict=True))

  def told(self, h: Array, c: Array | None, z: Choices) -> Array:
    """The state when all of z has been told."""
    for k in range(self.steps):
      step = _chosen(z, k)
      h = self._show(self.blocks[k](h, c), step.code, k)
      h = self._mark(h, step.cell, k)
    return h

  def said(self, z: Choices) -> Array:
    """The codes of all steps, [..., K C]."""
    codes = self._sized(z.code)
    return codes.reshape(codes.shape[:-2] + (-1,))

  def _prior_code(self, h: Array, c: Array | None, k: int) -> Categorical:
    return _categorical(self.prior_codes[k](self.code_blocks[k](h, c)))

  def _prior_cell(self, h: Array, c: Array | None, k: int) -> Categorical:
    return _categorical(self.prior_cells[k](self.cell_blocks[k](h, c)))

  def _show(self, h: Array, code: Array, k: int) -> Array:
    return h + self.pictures[k](self._sized(code), h.shape[-3:-1])

  def _mark(self, h: Array, cell: Array, k: int) -> Array:
    cells = normalize(h).reshape(h.shape[:-3] + (-1, h.shape[-1]))
    held = self.chosen[k](jnp.einsum('...p,...pc->...c', cell, cells))
    marks = self.marks[k](cell[..., None])
    h = h + marks.reshape(marks.shape[:-2] + h.shape[-3:])
    h = h + held[..., None, None, :]
    return h + self.competitions[k](h)

  def _sized(self, code: Array) -> Array:
    """A code as features, whose mean square is 1."""
    return code * self.codes**0.5


class CodeScores(nn.Module):
  """A score of each code, from means and maxima of h [..., h, w, C]."""

  codes: int
  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, h: Array) -> Array:
    dense = nn.Dense(self.codes, kernel_init=self.kernel_init)
    return dense(pool(normalize(h)))


class CellScores(nn.Module):
  """A score of each cell of h [..., h, w, C], [..., h w]."""

  kernel_init: nn.initializers.Initializer

  @nn.compact
  def __call__(self, h: Array) -> Array:
    scores = nn.Dense(1, kernel_init=self.kernel_init)(normalize(h))
    return scores.reshape(scores.shape[:-3] + (-1,))


class Picture(nn.Module):
  """What codes look like: a map for each, since cells alike draw nothing.

  Zero at first: codes that mean nothing yet are noise, which ends where one of
  them is always chosen.
  """

  features: int

  @nn.compact
  def __call__(self, code: Array, grid: tuple[int, int]) -> Array:
    """Codes [..., F] -> [..., h, w, C]."""
    size = *grid, self.features
    maps = nn.Dense(math.prod(size), kernel_init=_ZEROS)(code)
    return maps.reshape(code.shape[:-1] + size)


class Certain(nn.Module):
  """No latent, with the interface of `Imagined`: z has no numbers."""

  width: int
  bfloat16: bool
  cpu: bool

  def setup(self) -> None:
    self.room = Room(self.width, self.bfloat16, self.cpu)

  def sample_prior(
    self, r: Array, noise: Choices, views: Array | None
  ) -> Choices:
    """z: nothing."""
    del r, views
    return noise

  def infer(
    self,
    r: Array,
    r_target: Array,
    noise: Choices,
    views: Array | None,
    relaxed: Array | float,
  ) -> tuple[Choices, Choices, Choices]:
    """z, q and p: nothing."""
    del r, r_target, views, relaxed
    nothing = _of_parts(Categorical, noise)
    return noise, nothing, nothing

  def state(self, r: Array, z: Choices, views: Array | None) -> Told:
    """r, and the room's state."""
    del z, views
    plain = without_looks(r)
    return Told(plain, self.room(plain), None)


class Room(nn.Module):
  """What r says of a whole room before a view is asked for: its state."""

  width: int
  bfloat16: bool
  cpu: bool

  @nn.compact
  def __call__(self, r: Array) -> Array:
    """r [..., h, w, R + glance] -> [..., h, w, W]."""
    h = nn.Dense(self.width)(r)
    h = h + Coordinates(self.width)(h)
    for _ in range(2):
      h = Block(self.bfloat16, self.cpu)(h)
      h = h + Competition(self.width)(h)
    return Block(self.bfloat16, self.cpu)(h)


class Competition(nn.Module):
  """What a few cells, chosen by a softmax over all, say to every cell.

  Independent cells cannot agree on which of them is meant. Here they compete:
  noise on their scores becomes a choice of one place among several, at the
  price of a few nats.
  """

  features: int
  heads: int = 4

  @nn.compact
  def __call__(self, h: Array) -> Array:
    """h [..., h, w, C] -> [..., 1, 1, F]."""
    cells = normalize(h).reshape(h.shape[:-3] + (-1, h.shape[-1]))
    scores = nn.Dense(self.heads, use_bias=False)(cells)
    weights = jax.nn.softmax(scores, axis=-2)
    pooled = jnp.einsum('...nm,...nc->...mc', weights, cells)
    pooled = pooled.reshape(pooled.shape[:-2] + (-1,))
    return nn.Dense(self.features)(pooled)[..., None, None, :]


class Vector(nn.Module):
  """The global part of a latent as numbers [..., G] -> features [..., F]."""

  features: int

  @nn.compact
  def __call__(self, z: Array) -> Array:
    return nn.Dense(self.features)(nn.gelu(nn.Dense(2 * self.features)(z)))


class Codes(nn.Module):
  """The global part of a latent [..., G] -> which codes it means, [..., C].

  A few softmaxes over codes. Most of what there is to choose, a color or a
  digit, is one of several: here a cloud of noise becomes one of them, and not
  what lies between two. No noise, however far out, is out of their bounds.
  """

  codes: int
  heads: int = 4

  @nn.compact
  def __call__(self, z: Array) -> Array:
    scores = 2 * nn.Dense(self.heads * self.codes)(z)
    scores = scores.reshape(scores.shape[:-1] + (self.heads, self.codes))
    # Of size 1 where one code of each is meant.
    codes = jax.nn.softmax(scores, axis=-1) * self.codes**0.5
    return codes.reshape(codes.shape[:-2] + (-1,))


class Heads(nn.Module):
  """Two numbers for each coordinate of a latent's map and vector."""

  map_latent: int
  vector_latent: int

  @nn.compact
  def __call__(self, h: Array) -> tuple[LatentParts, LatentParts]:
    """h [..., h, w, C] -> first and second numbers, zero at first."""
    h = normalize(h)
    pooled = pool(h)
    if self.map_latent:
      maps = nn.Dense(2 * self.map_latent, kernel_init=_ZEROS, name='map')(h)
    else:  # no parameters of no size, which cannot be saved
      maps = h[..., :0]
    vectors = nn.Dense(
      2 * self.vector_latent, kernel_init=_ZEROS, name='vector'
    )(pooled)
    halves = [jnp.split(x, 2, axis=-1) for x in (maps, vectors)]
    first, second = zip(*halves, strict=True)
    return LatentParts(*first), LatentParts(*second)


def _normal(mean: Array, rho: Array) -> Normal:
  """The prior: log standard deviations rho / 2 within bounds."""
  return Normal(mean, jnp.clip(rho, *densities.LOG_VARIANCE_RANGE) / 2)


def _relative(prior: Normal, shift: Array, shrink: Array) -> Normal:
  """The posterior, at most 4 of the prior's deviations away from it."""
  mean = prior.mean + jnp.exp(prior.log_std) * 4 * jnp.tanh(shift / 4)
  return Normal(mean, prior.log_std - nn.softplus(shrink - 2))


def _of_parts(function: Callable, *parts: Any) -> Any:
  """function of the local parts, and of the global ones."""
  return type(parts[0])(*map(function, *parts))


def _step(parts: LatentParts, k: int) -> LatentParts:
  return LatentParts(parts.map[..., k, :, :, :], parts.vector[..., k, :])


def _stack(steps: list[LatentParts]) -> LatentParts:
  """Parts of K steps -> maps [..., K, h, w, Z] and vectors [..., K, G]."""
  maps, vectors = zip(*steps, strict=True)
  return LatentParts(
    jax.tree.map(lambda *x: jnp.stack(x, axis=-4), *maps),
    jax.tree.map(lambda *x: jnp.stack(x, axis=-2), *vectors),
  )


def _categorical(scores: Array) -> Categorical:
  return Categorical(nn.log_softmax(scores))


def _rescored(prior: Categorical, scores: Array) -> Categorical:
  """The posterior: the prior's logits, each changed by at most 8.

  The likelihood does not teach the prior by way of the posterior: its gradients
  would drown those of the KL.
  """
  logits = jax.lax.stop_gradient(prior.logits)
  return _categorical(logits + 8 * jnp.tanh(scores / 2))


def _chosen(z: Choices, k: int) -> Choices:
  return Choices(*(x[..., k, :] for x in z))


def _stacked(steps: list[Choices]) -> Choices:
  """Choices of K steps, stacked before their last axis."""
  return jax.tree.map(lambda *x: jnp.stack(x, axis=-2), *steps)


def _with(said: Array, c: Array | None) -> Array:
  """The codes and, of a GQN, the features of the query."""
  return said if c is None else jnp.concatenate([said, c], axis=-1)


class Renderer(nn.Module):
  """M_gamma: representation, latent and viewpoint -> a frame."""

  width: int
  representation: int
  blocks: int
  fine: int
  rotated: bool
  bfloat16: bool
  cpu: bool

  @nn.compact
  def __call__(
    self, r: Array, state: Array, said: Array | None, views: Array
  ) -> Array:
    """Renders every query of every scene.

    Args:
      r, state, said: as in `Told`, of B scenes.
      views: [B, T, V].

    Returns:
      [B, T, H, W, 3] mean frames, linear (not clipped).
    """
    c = ViewFeatures()(views)
    if said is not None:
      code = nn.gelu(nn.Dense(64)(said))
      code = jnp.broadcast_to(code[:, None], c.shape)
      c = jnp.concatenate([c, code], axis=-1)
    c = nn.gelu(nn.Dense(64)(c))
    x = jnp.concatenate([r, state], axis=-1)
    if self.rotated:
      x = nn.Dense(self.representation)(x)[:, None]
      x = to_harmonics(self.width, rotate(x, views, 1), views)
    else:
      x = nn.Dense(self.width)(x)[:, None]
    x = x + Coordinates(self.width)(x)
    x = jnp.broadcast_to(x, views.shape[:2] + x.shape[2:])
    for _ in range(self.blocks):
      x = Block(self.bfloat16, self.cpu)(x, c)
    hidden, patch = 4 * self.width, PATCH
    if self.fine:
      x = Block(self.bfloat16, self.cpu)(PatchDeconv(self.fine, 2)(x), c)
      hidden, patch = hidden // 4, PATCH // 2
    y = nn.gelu(nn.Dense(hidden)(Modulation()(x, c)))
    # Black at first, as in the paper's renderer.
    return PatchDeconv(3, patch, kernel_init=_ZEROS)(y)


class Coordinates(nn.Module):
  """Features of where a cell of x [..., h, w, C] is: [h, w, F], same rank."""

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    height, width = x.shape[-3:-1]
    places = np.stack(
      np.meshgrid(
        np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing='ij'
      ),
      axis=-1,
    )
    places = nn.Dense(self.features)(jnp.asarray(places, jnp.float32))
    return jnp.expand_dims(places, range(x.ndim - 3))
