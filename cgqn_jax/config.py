"""What the config files share: their arguments, and fields of every run.

Values that the paper's text does not give are marked recalled or choice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from cgqn_jax.fields import check_fields, filled, shown

PRESETS = ('paper', 'small', 'smoke')
# Of the presets that learn: the residual networks at 64x64, in bfloat16.
LEARNING_PRESETS = (*PRESETS, 'accelerator')
NETWORKS = ('draw', 'residual')  # the paper's, and ours
DETERMINISTIC = ('cdna',)  # models without a latent, whatever their networks

# The `width` at which a model has as many parameters as CGQN of that tier, to
# 2 %, by frame size: 1,051,207 (S), 3,963,815 (M) and 8,752,391 (L). At 1 they
# are of their authors' size. For videos of 21 frames, 6 of them context.
WIDTHS = {
  ('cdna', 64): {'S': 0.28, 'M': 0.645, 'L': 1.03},
  ('cdna', 32): {'S': 0.365, 'M': 0.76, 'L': 1.145},
  ('sv2p', 64): {'S': 0.28, 'M': 0.645, 'L': 1.03},
  ('sv2p', 32): {'S': 0.36, 'M': 0.75, 'L': 1.14},
  ('sssm', 64): {'S': 1.305, 'M': 2.65, 'L': 3.975},
  ('sssm', 32): {'S': 1.32, 'M': 2.65, 'L': 3.975},
}


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
  config.init_from = ''  # a workdir, or the name of shipped weights
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
  config.model.kernel = 5  # practice; the table does not list it
  config.model.encoder_widths = (8, 16, 32, 32)
  # Not the paper's, and off: see docs/learning_draw.md for what they buy.
  config.model.renderer_sees_context = False
  config.model.normalize_r = False
  config.model.frame_scale = 1.0
  config.model.view_gains = False
  resize(config, 'M')

  # Boundaries of all schedules are shares of the run. Choice: GQN's rate, which
  # falls from 5e-4 to 5e-5 in 1,600,000 updates, of which this is a quarter.
  config.learning_rate = levels((0.0, 1.0), (5e-4, 3.875e-4), 'linear')

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


def upgraded(fields: Any) -> dict[str, Any]:
  """The fields of a config.json of any version, as this one writes them.

  Fields that came later are set to what runs without them did.

  Raises:
    ValueError: in one line, for a run with a switch that is gone, and for what
      is no config of a run.
  """
  if not isinstance(fields, dict):
    raise ValueError(
      f'{shown(fields)} is no config: it must be fields, {{...}}'
    )
  fields = dict(fields)
  for name in ('learning_rate', 'pixel_variance', 'kl_weight', 'informed'):
    if name in fields and _is_in_steps(fields[name]):
      fields[name] = _in_shares(fields[name])
  if isinstance(fields.get('model'), dict):
    fields['model'] = dict(fields['model'])
    if frequencies := fields['model'].pop('view_frequencies', 0):
      raise ValueError(
        f'this run has model.view_frequencies {shown(frequencies)}, which '
        'cgqn_jax 0.2 does not know any more; read it with version 0.1'
      )
  fields = filled(fields)
  check_fields(fields)
  return fields


def _is_in_steps(schedule: Any) -> bool:
  """Tells whether a schedule is one of 0.1.

  What is no schedule at all the table of fields refuses.
  """
  if not isinstance(schedule, dict):
    return False
  lists = [schedule.get(name) for name in ('boundaries', 'values')]
  numbers = all(
    isinstance(x, list) and all(type(y) in (int, float) for y in x)
    for x in lists
  )
  return numbers and len(lists[0]) == len(lists[1]) and max(lists[0] or [0]) > 1


def _in_shares(schedule: dict[str, Any]) -> dict[str, Any]:
  """A schedule of 0.1, whose boundaries were those of a run of 400,000."""
  shares = [boundary / 400_000 for boundary in schedule['boundaries']]
  values = list(schedule['values'])
  if shares[-1] > 1:  # it went on beyond the end of the run
    linear = schedule.get('interpolation') == 'linear'
    if not linear or len(shares) < 2 or shares[-2] > 1:
      raise ValueError(
        f'a schedule with boundaries {shown(schedule["boundaries"])} ends '
        'beyond 400,000, the end of the run, and cannot be read any more'
      )
    part = (1 - shares[-2]) / (shares[-1] - shares[-2])
    last = values[-2] + part * (values[-1] - values[-2])
    values[-1] = float(f'{last:.12g}')  # as a person writes it
    shares[-1] = 1.0
  return dict(schedule) | {'boundaries': shares, 'values': values}


def resize(config: ConfigDict, size: str) -> None:
  """CGQN and GQN of 1,051,207 (S), 3,963,815 (M) or 8,752,391 (L) parameters.

  M is the paper's table; the others differ in widths (GQN's view adds to it).
  """
  factor = {'S': 1, 'M': 2, 'L': 3}[size]
  config.model.nf_to_hidden = 32 * factor
  config.model.nf_enc = 64 * factor
  config.model.nf_to_obs = 64 * factor
  config.model.nf_dec = 32 * factor


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
    # Costs nothing at first, all after 15 % of the run (choice).
    config.kl_weight = levels((0.0, 0.15), (0.0, 1.0), 'linear')
  else:
    config.model.kernel_size = 5
    config.model.num_kernels = 10
    # Share of the run after which half of the frames fed are the model's own.
    config.model.truth_half_life = 0.06
  if model == 'sv2p':
    config.model.latent = 1 if data.frame_size == 64 else 4
    config.model.time_variant = False
    # First without the posterior, then with it at no cost, then charged.
    config.informed = levels((0.0, 0.25), (0.0, 1.0), 'constant')
    config.kl_weight = levels((0.5, 0.6), (0.0, 1.0), 'linear')


def levels(
  boundaries: tuple[float, ...], values: tuple[float, ...], interpolation: str
) -> ConfigDict:
  """A schedule, see `schedules.schedule`; boundaries are shares of the run."""
  return ConfigDict(
    dict(boundaries=boundaries, values=values, interpolation=interpolation)
  )


def small(config: ConfigDict) -> None:
  """32x32, for a CPU; switches that are not the paper's are on."""
  config.batch_size = 8  # on one CPU more updates are worth more than scenes
  config.data.frame_size = 32
  resize(config, 'S')
  config.model.kernel = 3
  config.model.encoder_widths = (16, 32, 64, 64)
  config.model.renderer_sees_context = True
  config.model.normalize_r = True
  config.model.frame_scale = 5.0
  config.model.view_gains = True
  config.learning_rate = levels((0.0, 0.01, 1.0), (0.0, 2e-3, 5e-5), 'linear')
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
  config.model.glance = 0
  config.model.bfloat16 = large
  # Targets that an update renders, of the data.num_targets that the posterior
  # sees; 0 for all.
  config.num_rendered = 0
  config.kl_weight = levels((0.0,), (1.0,), 'constant')
  config.ema_decay = 0.999
  config.learning_rate = levels((0.0, 0.005, 1.0), (0.0, 1e-2, 0.0), 'cosine')
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


def choices(config: ConfigDict) -> None:
  """A latent of choices among cells and codes, in place of numbers.

  What it tells is cheap at first, and relaxed; in the end the bound is the
  ELBO.
  """
  config.model.map_latent = config.model.vector_latent = 0
  config.model.codes = 16
  config.kl_weight = levels((0.0, 0.5, 0.8), (0.3, 0.3, 1.0), 'linear')


def smoke(config: ConfigDict) -> None:
  """Tiny networks on a tiny dataset: it compiles for most of its time."""
  config.model.draw_steps = 2
  for name in ('nf_to_hidden', 'nf_enc', 'nf_to_obs', 'nf_dec'):
    config.model[name] = 8
  config.validation_scenes = 8
  config.log_every = 1
  config.num_steps = 20
  config.batch_size = 4
  config.data.tiny = True
  config.data.frame_size = 32


def comparison_base(preset: str, config_file: str) -> ConfigDict:
  """The fields of every experiment; configs/*comparison.py fill them in."""
  config = ConfigDict()
  config.preset = preset
  config.base = config_file  # of all runs
  config.models = ConfigDict()  # name -> arguments of `base`, and overrides
  config.compared = ''  # names of these, 'cgqn,gqn'
  config.seeds = (0, 1, 2)
  # Variants that differ in the last of pixel_variance.values alone; () leaves
  # it as each model has it.
  config.final_variances = ()
  config.num_steps = 400_000
  # As on the command line of train.py without the '--config.', for all runs:
  # 'data.source=simulator batch_size=8'.
  config.overrides = ''
  # The share of a model's runs that counts as its best, from so many runs on.
  config.chosen_share = 0.5
  config.chosen_from = 1

  # The flags of experiments/evaluate.py.
  config.evaluation = ConfigDict()
  config.evaluation.split = 'test'
  config.evaluation.step = 'latest'  # equal updates
  config.evaluation.num_scenes = 1000
  config.evaluation.num_samples = 100
  config.evaluation.num_draws = 16
  config.evaluation.batch_size = 10
  config.evaluation.seed = 0

  # The same on validation scenes, where these differ: what tells that a run
  # has failed, and which trial is best.
  config.validation = ConfigDict()
  config.validation.num_scenes = 256
  config.validation.num_samples = 30
  config.validation.num_draws = 4

  # Trials of settings, `trials` of each model, in short runs; the least
  # `metric` on validation scenes is chosen.
  config.trials = ConfigDict()
  config.trials.num_steps = 40_000
  config.trials.seed = 1000  # none of the runs that follow
  config.trials.metric = 'best_of_30'

  # Of the curves over training: a point per checkpoint, on the same split.
  config.curve = ConfigDict()
  config.curve.points = 8
  config.curve.num_scenes = 1000
  config.curve.num_samples = 30  # of videos
  config.curve.num_draws = 4
  return config


def comparison_model(
  arguments: str, overrides: str = '', trials: Sequence[str] = ('',)
) -> ConfigDict:
  """An entry of config.models; `trials` are further overrides, each tried."""
  entry = {'arguments': arguments, 'overrides': overrides}
  return ConfigDict(entry | {'trials': tuple(trials)})


def comparison_smoke(config: ConfigDict) -> None:
  """Shows that everything runs: a minute or two per run, mostly compiling."""
  config.num_steps = 20
  config.trials.num_steps = 4
  config.overrides = 'data.source=simulator'
  for part in (config.evaluation, config.validation):
    part.num_scenes = 4
    part.num_samples = 3
    part.num_draws = 2
  config.evaluation.batch_size = 4
  config.curve.num_scenes = 4
  config.curve.num_draws = 2
