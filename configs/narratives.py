r"""Narratives of 2D shapes (paper, section 4.1 and appendix B).

  python experiments/train.py --config=configs/narratives.py
      the paper's model and schedules on Traveling Salesman, 64x64.
  python experiments/train.py \
      --config=configs/narratives.py:preset=small,narrative=color_reaction
      the residual networks, 32x32 on a CPU.
  python experiments/train.py \
      --config=configs/narratives.py:preset=small,latent=choices \
      --config.init_from=W
      from weights that can draw (W, or the name of shipped ones), with a latent
      of choices, which is more often right: the shipped ones have it.
  ... :preset=smoke
      a minute of compiling, ten seconds once that is kept; shows that
      everything runs, learns nothing worth a look.
  ... :preset=accelerator
      the residual networks at 64x64, in bfloat16.
  ... :networks=draw
      the paper's networks in any preset, or `networks=residual`.
  ... :model=gqn
      the baseline with a latent for each target, otherwise the same.
  ... :model=sv2p,size=S
      sssm, sv2p or cdna: the first frames in, all others out, in order. Sizes
      S, M (the paper's) and L have equal parameters in all models; of cgqn and
      gqn they are sizes of the paper's networks.

Where the paper's text gives a number it stands here or in cgqn_jax/config.py;
the comments mark the rest as recalled or as our choice.
"""

from ml_collections import ConfigDict

from cgqn_jax import config as config_lib
from cgqn_jax.simulators.narratives import NARRATIVES

_ARGUMENTS = {
  'preset': config_lib.LEARNING_PRESETS,
  'narrative': tuple(NARRATIVES),
  'model': ('cgqn', 'gqn', 'sssm', 'sv2p', 'cdna'),
  'size': ('preset', 'S', 'M', 'L'),  # by default the preset's own
  'networks': ('preset', *config_lib.NETWORKS),
  'latent': ('numbers', 'choices'),
}


def get_config(arg: str = '') -> ConfigDict:
  """The config of the arguments, `preset=...,narrative=...` and so on.

  Raises:
    ValueError: for an argument that there is not, or networks of which the
      model, the size or the latent is none.
  """
  args = config_lib.parse_arguments('configs/narratives.py', arg, _ARGUMENTS)
  config = config_lib.base('narratives', args['preset'], args['model'])
  paper(config, args['narrative'])
  networks = _networks(args)
  if args['preset'] == 'small' and networks == 'draw':
    small(config)
  if args['preset'] == 'smoke':
    config_lib.smoke(config)
  if networks == 'residual':
    residual(config, args['preset'], args['narrative'])
    if args['latent'] == 'choices':
      choices(config, args['preset'])
  elif args['latent'] == 'choices':
    raise ValueError(
      'configs/narratives.py: latent=choices is of the residual networks; take '
      'preset=small or accelerator, or networks=residual, without a size'
    )
  size = args['size']
  if args['model'] not in ('cgqn', 'gqn'):
    if size == 'preset':
      size = 'M' if args['preset'] == 'paper' else 'S'
    config_lib.sequential(config, args['model'], size)
    if args['preset'] == 'smoke':
      config.model.width = 0.125
  elif size != 'preset':
    config_lib.resize(config, size)
  return config.lock()


def _networks(args: dict[str, str]) -> str:
  """The family that the arguments mean."""
  if args['size'] == 'preset' and args['model'] in ('cgqn', 'gqn'):
    return config_lib.networks(args['preset'], args['networks'])
  if args['networks'] == 'residual' or args['preset'] == 'accelerator':
    raise ValueError(
      'configs/narratives.py: the residual networks, which preset=accelerator '
      'has too, are of model=cgqn and gqn, and have no size'
    )
  return 'draw'


def paper(config: ConfigDict, narrative: str) -> None:
  """The paper's protocol and pixel-variance."""
  num_frames = NARRATIVES[narrative].num_frames
  reaction = narrative == 'color_reaction'
  config.data.config = narrative
  config.data.num_frames = num_frames
  config.data.view_size = 1  # V: the timestamp i / (N - 1)
  config.data.protocol = 'frames'
  # Training: M ~ U{min..max} of the first `context_window` frames (recalled,
  # and of low confidence; the evaluation on the first six is figure 3's).
  config.data.min_context = 2 if reaction else 3
  config.data.max_context = 2 if reaction else 6
  config.data.context_window = num_frames if reaction else 6
  # This share of the scenes sees U{0..max_context} of all frames instead.
  config.data.any_context_share = 0.0
  config.data.num_targets = 4  # recalled; drawn from all frames
  config.data.test_context = (0, 3) if reaction else (0, 1, 2, 3, 4, 5)

  config.pixel_variance = config_lib.levels((0.0, 0.25), (2.0, 0.5), 'linear')


def residual(config: ConfigDict, preset: str, narrative: str) -> None:
  """The residual networks; results/ladder has what these settings reach."""
  config_lib.residual(config, preset)
  config.data.num_targets = 6
  config.num_rendered = 4
  # Two of the frames before the reaction, or three to six of the first six;
  # else up to as many of any.
  config.data.context_window = 6
  config.data.any_context_share = 0.2
  # At first what the latent tells is cheap, or it dies before the renderer can
  # draw what it would tell; in the end the bound is the ELBO. What it tells in
  # nats follows the worth of errors: high at first, so that it is the story
  # and not the drawing.
  if narrative == 'color_reaction':
    config.model.map_latent = 0  # a new color is said by the vector alone
    num_steps, cheap, dear = 56_000, 0.025, 0.075
    # Two falls of the rate: after the first, all colors can be told.
    config.learning_rate = config_lib.levels(
      (0.0, 0.0025, 0.5, 0.505, 1.0), (0.0, 0.01, 0.0, 0.006, 0.0), 'cosine'
    )
    config.pixel_variance = config_lib.levels(
      (0.0, 0.225, 0.375, 0.55, 0.75), (0.3, 0.3, 0.1, 0.1, 0.05), 'linear'
    )
  else:
    # Codes and the finer stage did worse here (results/ladder/README.md).
    config.model.codes = config.model.fine = 0
    num_steps, cheap, dear = 61_000, 0.028, 0.07
    # Three falls of the rate: legs of the way are drawn in the later ones.
    config.learning_rate = config_lib.levels(
      (0.0, 0.0015, 0.28, 0.283, 0.607, 0.611, 1.0),
      (0.0, 0.01, 0.0, 0.006, 0.0, 0.006, 0.0),
      'cosine',
    )
    config.pixel_variance = config_lib.levels(
      (0.0, 0.167, 0.252, 0.443, 0.573, 0.764, 0.921),
      (1.0, 1.0, 0.3, 0.3, 0.1, 0.1, 0.05),
      'linear',
    )
  config.kl_weight = config_lib.levels(
    (0.0, cheap, dear), (0.3, 0.3, 1.0), 'linear'
  )
  if preset != 'smoke':
    config.num_steps = num_steps


def choices(config: ConfigDict, preset: str) -> None:
  """The second run: what was told by numbers is told by choices."""
  config_lib.choices(config)
  config.learning_rate = config_lib.levels(
    (0.0, 0.01, 1.0), (0.0, 8e-3, 0.0), 'cosine'
  )
  config.pixel_variance = config_lib.levels((0.0,), (0.05,), 'constant')
  if preset != 'smoke':
    config.num_steps = 15_000


def small(config: ConfigDict) -> None:
  """The paper's networks at 32x32, for a CPU."""
  config_lib.small(config)
  config.num_steps = 6_000
  config.data.min_context = min(3, config.data.min_context)
  config.data.max_context = 6
  config.data.any_context_share = 0.5
  # A small frame has a quarter of the pixels, so the same error is worth fewer
  # nats. Low at first, until the posterior is used; then higher, so that the
  # prior can follow it and samples are as good as reconstructions.
  config.pixel_variance = config_lib.levels((0.0, 1.0), (0.005, 0.1), 'linear')
