r"""Narratives of 2D shapes (paper, section 4.1 and appendix B).

  python experiments/train.py --config=configs/narratives.py
      the paper's model and schedules on Traveling Salesman, 64x64.
  python experiments/train.py \
      --config=configs/narratives.py:preset=small,narrative=color_reaction
      32x32 on a CPU, tens of minutes.
  ... :preset=smoke
      seconds; shows that everything runs, learns nothing worth a look.

Where the paper's text gives a number it stands here; the comments mark the
rest as recalled or as our choice.
"""

from ml_collections import ConfigDict

from cgqn_jax.simulators.narratives import NARRATIVES

PRESETS = ('paper', 'small', 'smoke')
DEFAULTS = {'preset': 'paper', 'narrative': 'traveling_salesman'}


def parse(arg: str) -> dict[str, str]:
  """'preset=small,narrative=plinko' -> the arguments, defaults filled in."""
  given = dict(part.partition('=')[::2] for part in arg.split(',') if part)
  allowed = {'preset': PRESETS, 'narrative': tuple(NARRATIVES)}
  for name, value in given.items():
    if name not in allowed:
      raise ValueError(
        f'configs/narratives.py: no argument {name!r}; there are '
        f'{", ".join(allowed)}'
      )
    if value not in allowed[name]:
      raise ValueError(
        f'configs/narratives.py: {name} is {value!r}; it must be one of '
        f'{", ".join(allowed[name])}'
      )
  return DEFAULTS | given


def get_config(arg: str = '') -> ConfigDict:
  """The config of `preset=...,narrative=...`."""
  args = parse(arg)
  preset, narrative = args['preset'], args['narrative']
  config = paper(narrative)
  config.preset = preset
  if preset == 'small':
    small(config)
  if preset == 'smoke':
    smoke(config)
  return config.lock()


def paper(narrative: str) -> ConfigDict:
  """The paper's settings."""
  num_frames = NARRATIVES[narrative].num_frames
  reaction = narrative == 'color_reaction'
  config = ConfigDict()
  config.seed = 0
  config.dataset = 'narratives'
  config.preset = 'paper'
  config.num_steps = 400_000  # choice: the text says three days
  config.batch_size = 32  # choice: global, over all devices
  config.ema_decay = 0.0  # off

  config.data = ConfigDict()
  config.data.source = 'tfds'  # 'tfds', 'simulator' or 'folder'
  config.data.config = narrative
  config.data.path = ''  # of a folder of videos
  config.data.data_dir = ''  # TFDS's own default
  config.data.frame_size = 64
  config.data.num_frames = num_frames
  config.data.view_size = 1  # V: the timestamp i / (N - 1)
  config.data.tiny = False  # a few hundred scenes, for tests
  # Training: M ~ U{min..max} of the first `context_window` frames (recalled,
  # and of low confidence; the evaluation on the first six is figure 3's).
  config.data.min_context = 2 if reaction else 3
  config.data.max_context = 2 if reaction else 6
  config.data.context_window = num_frames if reaction else 6
  # This share of the scenes sees U{0..max_context} of all frames instead.
  config.data.any_context_share = 0.0
  config.data.num_targets = 4  # recalled; drawn from all frames
  config.data.test_context = (0, 3) if reaction else (0, 1, 2, 3, 4, 5)

  config.model = ConfigDict()
  config.model.name = 'cgqn'
  config.model.draw_steps = 4  # nt
  config.model.nf_to_hidden = 64
  config.model.nf_enc = 128
  config.model.nf_to_obs = 128
  config.model.nf_dec = 64
  config.model.nf_z = 3
  config.model.stride_to_hidden = 2
  config.model.stride_to_obs = 2
  config.model.kernel = 5  # practice; the table does not list it
  config.model.encoder_widths = (8, 16, 32, 32)
  config.model.posterior_sees_prior = True  # as ConvDRAW
  config.model.z_per_step = False  # all of z at every step
  # Not the paper's, and off: see docs/learning.md for what they buy.
  config.model.renderer_sees_context = False
  config.model.view_frequencies = 0

  config.pixel_variance = ConfigDict()
  config.pixel_variance.boundaries = (0, 100_000)
  config.pixel_variance.values = (2.0, 0.5)
  config.pixel_variance.interpolation = 'linear'

  # Choice: GQN's. Like the pixel-variance's, its boundaries are those of a
  # 400,000-step run and shrink with num_steps.
  config.learning_rate = ConfigDict()
  config.learning_rate.boundaries = (0, 1_600_000)
  config.learning_rate.values = (5e-4, 5e-5)
  config.learning_rate.interpolation = 'linear'

  config.optimizer = ConfigDict()
  config.optimizer.b1 = 0.9
  config.optimizer.b2 = 0.999
  config.optimizer.eps = 1e-8
  config.optimizer.clip_norm = 10.0  # choice

  config.max_skipped_in_a_row = 20
  config.log_every = 100
  config.picture_every = 5_000
  config.validate_every = 5_000
  config.validation_scenes = 256
  config.checkpoint_every = 5_000
  config.keep_checkpoints = 2
  return config


def small(config: ConfigDict) -> None:
  """32x32, for a CPU; the switches that are not the paper's are on."""
  config.num_steps = 3_000
  config.batch_size = 16
  config.data.frame_size = 32
  config.data.min_context = min(3, config.data.min_context)
  config.data.max_context = 6
  config.data.any_context_share = 0.5
  config.model.nf_to_hidden = 32
  config.model.nf_enc = 64
  config.model.nf_to_obs = 64
  config.model.nf_dec = 32
  config.model.encoder_widths = (16, 32, 64, 64)
  config.model.renderer_sees_context = True
  config.model.view_frequencies = 4
  # A small frame has a quarter of the pixels, so the same error is worth fewer
  # nats. Low at first, until the posterior is used; then higher, so that the
  # prior can follow it and samples are as good as reconstructions.
  config.pixel_variance.boundaries = (0, 400_000)
  config.pixel_variance.values = (0.04, 0.12)
  config.learning_rate.boundaries = (0, 20_000, 400_000)
  config.learning_rate.values = (0.0, 1e-3, 5e-5)
  config.checkpoint_every = 500
  config.validate_every = 500
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
