"""Models by name, built from a config."""

from collections.abc import Callable
import copy
from typing import Any

import jax
from ml_collections import ConfigDict
import optax

from cgqn_jax import fields as fields_lib
from cgqn_jax.models import schedules
from cgqn_jax.models.cdna import CDNANetworks
from cgqn_jax.models.cgqn import CGQN
from cgqn_jax.models.gqn import GQN
from cgqn_jax.models.model import Model
from cgqn_jax.models.networks import Networks
from cgqn_jax.models.residual import CAMERA, ResidualNetworks
from cgqn_jax.models.sequential import Sequential
from cgqn_jax.models.sssm import SSSMNetworks
from cgqn_jax.models.sv2p import SV2PNetworks

# Any frames in, any frames out; and those that go through time.
JUMPY = {'cgqn': CGQN, 'gqn': GQN}
SEQUENTIAL = ('cdna', 'sv2p', 'sssm')


def build(config: ConfigDict) -> Model:
  """The model of a config, as configs/*.py make it.

  Raises:
    ValueError: for fields that do not fit (`fields.check`), a model that there
      is not, a frame size that its networks cannot take, scenes that it cannot
      read, or JAX set to 64 bits.
  """
  fields_lib.check(config)
  _check_jax()
  name = config.model.name
  if name not in BUILDERS:
    raise ValueError(
      f'model.name is {name!r}; it must be one of {", ".join(BUILDERS)}'
    )
  return BUILDERS[name](config)


def _check_jax() -> None:
  """ValueError where JAX is set to what there is not, or to 64 bits."""
  if jax.config.jax_enable_x64:
    raise ValueError(
      'JAX_ENABLE_X64 is on, and cgqn_jax computes in 32 bits; unset it'
    )
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # by JAX's version
    reason = ' '.join(str(error).split())
    raise ValueError(
      f'JAX_PLATFORMS is {jax.config.jax_platforms!r}, and JAX finds no such '
      f'device; unset it, or install JAX for it {reason}'.rstrip()
    ) from error


def _fields(config: ConfigDict, **more: Any) -> dict[str, Any]:
  """The fields of config.model that are the networks' own, and more."""
  fields = dict(config.model) | more
  del fields['name']
  # Convolutions in the forms that are fast there.
  return fields | {'cpu': jax.default_backend() == 'cpu'}


def _jumpy(config: ConfigDict) -> CGQN | GQN:
  name = config.model.name
  fields = _fields(
    config,
    frame_size=config.data.frame_size,
    view_size=config.data.view_size,
  )
  if name == 'cgqn' and fields.get('latent_sees_query'):
    raise ValueError(
      'model.latent_sees_query is on; the latent of cgqn is not of one query: '
      "turn it off, or choose model.name 'gqn'"
    )
  family = fields.pop('networks')
  if family == 'draw':
    _check_sizes(config)
    return JUMPY[name](Networks(**fields), pixel_variance(config))
  networks = ResidualNetworks(**fields)
  _check_residual(config, networks.of_rooms)
  return JUMPY[name](
    networks,
    pixel_variance(config),
    _schedule(config, config.kl_weight),
    config.num_rendered,
  )


def _sequential(config: ConfigDict) -> Sequential:
  name = config.model.name
  if config.data.protocol != 'sequence':
    raise ValueError(
      f'{name} reads the first frames of a video in order and predicts all '
      f'others; data.protocol is {config.data.protocol!r}: make it '
      f"'sequence', or choose {' or '.join(JUMPY)}"
    )
  size, unit = config.data.frame_size, 16 if name == 'sssm' else 8
  if size % unit:
    raise ValueError(
      f'data.frame_size is {size}; {name} takes multiples of {unit}'
    )
  fields = _fields(config, frame_size=size, num_frames=config.data.num_frames)
  variance = pixel_variance(config)
  if name == 'sssm':
    free_nats = fields.pop('free_nats')
    networks = SSSMNetworks(max_context=config.data.max_context, **fields)
    weight = _schedule(config, config.kl_weight)
    return Sequential(networks, variance, kl_weight=weight, free_nats=free_nats)
  truth = schedules.scheduled_sampling(
    config.num_steps, fields.pop('truth_half_life')
  )
  if name == 'cdna':
    return Sequential(CDNANetworks(**fields), variance, truth=truth)
  return Sequential(
    SV2PNetworks(**fields),
    variance,
    truth=truth,
    informed=_schedule(config, config.informed),
    kl_weight=_schedule(config, config.kl_weight),
  )


def counted(model: Model) -> Model:
  """The model with every convolution as one, to count its operations."""
  twin = copy.copy(model)
  twin.networks = model.networks.clone(cpu=False)
  return twin


def pixel_variance(config: ConfigDict) -> optax.Schedule:
  """The schedule of sigma^2 over the updates of a run."""
  return _schedule(config, config.pixel_variance)


def _schedule(config: ConfigDict, fields: ConfigDict) -> optax.Schedule:
  return schedules.schedule(num_steps=config.num_steps, **dict(fields))


def _check_residual(config: ConfigDict, rooms: bool) -> None:
  size, model = config.data.frame_size, config.model
  if size % 8:
    raise ValueError(
      f'data.frame_size is {size}; the residual networks take multiples of 8'
    )
  if config.num_rendered > config.data.num_targets:
    raise ValueError(
      f'num_rendered is {config.num_rendered}; it must be 0, for all, to '
      f'{config.data.num_targets}, which is data.num_targets'
    )
  if model.rotated and config.data.view_size not in (1, CAMERA):
    raise ValueError(
      f'model.rotated is on and data.view_size is {config.data.view_size}; '
      f'it takes timestamps, 1, or cameras, {CAMERA}'
    )
  if not (rooms or model.latent_steps):
    raise ValueError(
      'model.latent_steps is 0; only of rooms whose cameras rotate r can the '
      'networks do without a latent: it must be 1 or more'
    )
  if rooms or not model.vector_latent:
    _check_choices(model)
  if model.rotated and model.representation % 2:
    raise ValueError(
      f'model.representation is {model.representation}; where model.rotated is '
      'on it must be even, for pairs of channels are rotated'
    )


def _check_choices(model: ConfigDict) -> None:
  if model.map_latent or model.vector_latent:
    raise ValueError(
      f'model.map_latent is {model.map_latent} and model.vector_latent '
      f'{model.vector_latent}; for a latent of choices, as that of rooms is, '
      'make both 0'
    )
  if model.latent_steps and model.codes < 2:
    raise ValueError(
      f'model.codes is {model.codes}; a latent of choices chooses one of them: '
      'it must be 2 or more'
    )


def _check_sizes(config: ConfigDict) -> None:
  size = config.data.frame_size
  hidden, canvas = config.model.stride_to_hidden, config.model.stride_to_obs
  unit = 4 * hidden
  if size % unit:
    raise ValueError(
      f'data.frame_size is {size}; the encoder divides it by 4 and '
      f'model.stride_to_hidden by {hidden} more, so it must be a multiple of '
      f'{unit}'
    )
  if size % (size // unit * canvas):
    raise ValueError(
      f'model.stride_to_obs is {canvas}; it must divide {unit}, the number of '
      'pixels that a cell of the latent grid covers'
    )


# A model of one's own is a line here: see docs/extending.md.
BUILDERS: dict[str, Callable[[ConfigDict], Model]] = {
  'cgqn': _jumpy,
  'gqn': _jumpy,
  'cdna': _sequential,
  'sv2p': _sequential,
  'sssm': _sequential,
}
