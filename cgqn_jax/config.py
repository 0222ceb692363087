"""What the config files share: their arguments, and fields of every run.

Values that the paper's text does not give are marked recalled or choice.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from cgqn_jax.baselines import WIDTHS

PRESETS = ('paper', 'small', 'smoke')
# Of the presets that learn: the residual networks at 64x64, in bfloat16.
LEARNING_PRESETS = (*PRESETS, 'accelerator')
NETWORKS = ('draw', 'residual')  # the paper's, and ours


def networks(preset: str, given: str) -> str:
  """The family of networks that a preset has, unless another is given."""
  if given != 'preset':
    return given
  return 'residual' if preset in ('small', 'accelerator') else 'draw'


def parse_arguments(
  file: str, text: str, allowed: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
  """'preset=small,model=gqn' -> the arguments, defaults filled in.

  Args:
    file: named in errors.
    text: what stands behind the colon of --config.
    allowed: the values of each argument, its default first.
  """
  given = dict(part.partition('=')[::2] for part in text.split(',') if part)
  for name, value in given.items():
    if name not in allowed:
      raise ValueError(
        f'{file}: no argument {name!r}; there are {", ".join(allowed)}'
      )
    if value not in allowed[name]:
      raise ValueError(
        f'{file}: {name} is {value!r}; it must be one of '
        f'{", ".join(allowed[name])}'
      )
  return {name: values[0] for name, values in allowed.items()} | given


def base(dataset: str, preset: str, model: str) -> ConfigDict:
  """The paper's settings, as far as all its datasets share them."""
  config = ConfigDict()
  config.seed = 0
  config.dataset = dataset
  config.preset = preset
  config.num_steps = 400_000  # choice: the text says three days
  config.batch_size = 32  # choice: global, over all devices
  config.ema_decay = 0.0  # off

  config.data = ConfigDict()
  config.data.source = 'tfds'  # 'tfds', 'simulator', 'folder' or 'gqn'
  config.data.path = ''  # of a folder of scenes
  config.data.data_dir = ''  # TFDS's own default
  # Processes that read training scenes; 0: a thread of the trainer's. Batches
  # are the same. For accelerators, where an update takes milliseconds.
  config.data.workers = 0
  config.data.frame_size = 64
  config.data.tiny = False  # a few hundred scenes, for tests

  config.model = ConfigDict()
  config.model.name = model
  config.model.networks = 'draw'  # the paper's; or 'residual'
  config.model.draw_steps = 4  # nt
  config.model.nf_z = 3
  config.model.stride_to_hidden = 2
  config.model.stride_to_obs = 2
  config.model.posterior_sees_prior = True  # as ConvDRAW
  config.model.z_per_step = False  # all of z at every step
  # GQN's prior and posterior see the query; CGQN's cannot, for it is not of
  # one query.
  config.model.latent_sees_query = model == 'gqn'
  resize(config, 'M')

  # Choice: GQN's. Like the pixel-variance's, its boundaries are those of a
  # 400,000-step run and shrink with num_steps.
  config.learning_rate = ConfigDict()
  config.learning_rate.boundaries = (0, 1_600_000)
  config.learning_rate.values = (5e-4, 5e-5)
  config.learning_rate.interpolation = 'linear'

  config.optimizer = ConfigDict()
  config.optimizer.name = 'adam'  # or 'muon'
  config.optimizer.b1 = 0.9
  config.optimizer.b2 = 0.999
  config.optimizer.eps = 1e-8
  config.optimizer.clip_norm = 10.0  # choice

  config.max_skipped_in_a_row = 20
  config.log_every = 100
  config.picture_every = 5_000
  config.validate_every = 5_000
  config.validation_scenes = 256
  config.validation_best_of = 0  # samples of 32 scenes; 0: none are drawn
  config.checkpoint_every = 5_000
  config.keep_checkpoints = 2
  return config


def upgraded(fields: dict[str, Any]) -> dict[str, Any]:
  """A config.json of an earlier version, with what it did not yet say."""
  fields = dict(fields)
  if fields.get('model', {}).get('name') in ('cgqn', 'gqn'):
    fields['model'] = {'networks': 'draw'} | fields['model']
  if 'optimizer' in fields:
    fields['optimizer'] = {'name': 'adam'} | fields['optimizer']
  return fields


def resize(config: ConfigDict, size: str) -> None:
  """CGQN and GQN of 1,051,207 (S), 3,963,815 (M) or 8,752,391 (L) parameters.

  M is the paper's table; the others differ in widths (GQN's view adds to it).
  """
  factor = {'S': 1, 'M': 2, 'L': 3}[size]
  config.model.nf_to_hidden = 32 * factor
  config.model.nf_enc = 64 * factor
  config.model.nf_to_obs = 64 * factor
  config.model.nf_dec = 32 * factor
  config.model.kernel = 5  # practice; the table does not list it
  config.model.encoder_widths = (8, 16, 32, 32)
  # Not the paper's, and off: see docs/learning_draw.md for what they buy.
  config.model.renderer_sees_context = False
  config.model.normalize_r = False
  config.model.view_frequencies = 0
  config.model.frame_scale = 1.0
  config.model.view_gains = False


def sequential(config: ConfigDict, model: str, size: str) -> None:
  """Turns a config of videos into one of CDNA, SV2P or sSSM.

  Widths give the tier's parameters at config.data.frame_size.
  """
  data = config.data
  data.protocol = 'sequence'
  data.max_context = 6
  data.test_context = tuple(range(data.max_context))
  data.min_context = data.context_window = data.max_context
  data.any_context_share = 0.0
  data.num_targets = data.num_frames - data.max_context
  config.optimizer.clip_norm = 1.0
  config.model = ConfigDict()
  config.model.name = model
  config.model.width = WIDTHS[model, data.frame_size][size]
  if model == 'sssm':
    config.model.latent = 64
    config.model.free_nats = 0.0
  else:
    config.model.kernel_size = 5
    config.model.num_kernels = 10
    # Share of the run after which half of the frames fed are the model's own.
    config.model.truth_half_life = 0.06
  if model == 'sv2p':
    config.model.latent = 1 if data.frame_size == 64 else 4
    config.model.time_variant = False
  # Like the pixel-variance's, their boundaries are of 400,000 steps. SV2P:
  # first without the posterior, then with it at no cost, then charged. sSSM:
  # its latent costs nothing at first, all after 15 % of the run (choice).
  if model == 'sv2p':
    config.informed = levels((0, 100_000), (0.0, 1.0), 'constant')
    config.kl_weight = levels((200_000, 240_000), (0.0, 1.0), 'linear')
  if model == 'sssm':
    config.kl_weight = levels((0, 60_000), (0.0, 1.0), 'linear')


def levels(
  boundaries: tuple[int, ...], values: tuple[float, ...], interpolation: str
) -> ConfigDict:
  return ConfigDict(
    {
      'boundaries': boundaries,
      'values': values,
      'interpolation': interpolation,
    }
  )


def small(config: ConfigDict) -> None:
  """32x32, for a CPU; switches that are not the paper's are on."""
  config.batch_size = 8  # on one CPU more updates are worth more than scenes
  config.data.frame_size = 32
  config.model.kernel = 3
  config.model.nf_to_hidden = 32
  config.model.nf_enc = 64
  config.model.nf_to_obs = 64
  config.model.nf_dec = 32
  config.model.encoder_widths = (16, 32, 64, 64)
  config.model.renderer_sees_context = True
  config.model.normalize_r = True
  config.model.frame_scale = 5.0
  config.model.view_gains = True
  config.learning_rate.boundaries = (0, 4_000, 400_000)
  config.learning_rate.values = (0.0, 2e-3, 5e-5)
  config.checkpoint_every = 500
  config.validate_every = 500
  config.picture_every = 1_000


def residual(config: ConfigDict, preset: str) -> None:
  """The residual networks in a preset; none of it is the paper's.

  docs/learning.md says what each choice buys.
  """
  large, tiny = preset == 'accelerator', preset == 'smoke'
  name, sees_query = config.model.name, config.model.latent_sees_query
  config.model = ConfigDict()
  config.model.name = name
  config.model.networks = 'residual'
  config.model.latent_sees_query = sees_query
  config.model.width = 128 if large else 8 if tiny else 64
  config.model.representation = 256 if large else 16 if tiny else 128
  config.model.encoder_blocks = 2 if large else 1
  config.model.renderer_blocks = 4 if large else 1 if tiny else 2
  config.model.latent_steps = 2
  config.model.map_latent = 2
  config.model.vector_latent = 8
  config.model.rotated = True
  config.model.codes = 4 if tiny else 16
  config.model.fine = 64 if large else 4 if tiny else 24
  config.model.bfloat16 = large
  # Targets that an update renders, of the data.num_targets that the posterior
  # sees; 0 for all.
  config.num_rendered = 0
  config.kl_weight = levels((0,), (1.0,), 'constant')
  config.ema_decay = 0.999
  config.learning_rate = levels((0, 2_000, 400_000), (0.0, 1e-2, 0.0), 'cosine')
  config.optimizer.name = 'muon'
  config.optimizer.b2 = 0.99
  # Of gradients in nats: it always binds, so every update is normalised.
  config.optimizer.clip_norm = 1.0
  if not tiny:
    config.validation_best_of = 30
    config.batch_size = 32 if large else 8
    config.data.frame_size = 64 if large else 32
    config.checkpoint_every = 500
    config.validate_every = 1_000
    config.picture_every = 1_000


def smoke(config: ConfigDict) -> None:
  """Seconds: tiny networks on a tiny dataset."""
  config.model.draw_steps = 2
  config.model.nf_to_hidden = 8
  config.model.nf_enc = 8
  config.model.nf_to_obs = 8
  config.model.nf_dec = 8
  config.validation_scenes = 8
  config.log_every = 1
  config.num_steps = 20
  config.batch_size = 4
  config.data.tiny = True
  config.data.frame_size = 32
