r"""CGQN and GQN on dice: seeds x pixel-variances (paper, figures 6, 8 to 10).

  python experiments/compare.py --config=configs/dice_comparison.py \
      --out=runs/dice_comparison
      the paper's: 4 runs of each model at each of four variances; for a
      cluster, see compare.py.
  ... --config=configs/dice_comparison.py:preset=small
      2 runs at 2 variances, 32x32, for a CPU.
  ... :preset=smoke
      shows that everything runs: a minute or two a run, nearly all compiling.

  ... --tune
      beforehand: chooses learning rate and gradient clip of each model, at the
      first of the variances.

Runs differ in model, seed and the last value of the pixel-variance's schedule.
"""

from ml_collections import ConfigDict

from cgqn_jax import config as config_lib

_ARGUMENTS = {'preset': config_lib.PRESETS}
MODELS = ('cgqn', 'gqn')
# What --tune tries, of both models alike: learning rates x gradient clips, the
# preset's own first. Not the variance, at which negative ELBOs compare. Choice.
_TRIALS = {
  'paper': (
    '',
    'learning_rate.values=1e-3,7.75e-4',
    'learning_rate.values=2e-4,1.55e-4',
    'optimizer.clip_norm=100',
    'optimizer.clip_norm=100 learning_rate.values=1e-3,7.75e-4',
    'optimizer.clip_norm=100 learning_rate.values=2e-4,1.55e-4',
  ),
  'small': (
    '',
    'learning_rate.values=0,1e-3,2.5e-5',
    'learning_rate.values=0,4e-3,1e-4',
  ),
  'smoke': ('', 'learning_rate.values=1e-4,7.75e-5'),
}


def get_config(arg: str = '') -> ConfigDict:
  """The experiment of `preset=...`."""
  file = 'configs/dice_comparison.py'
  preset = config_lib.parse_arguments(file, arg, _ARGUMENTS)['preset']
  config = config_lib.comparison_base(preset, 'configs/dice.py')
  for name in MODELS:
    arguments = f'preset={preset},model={name},networks=draw'
    config.models[name] = config_lib.comparison_model(
      arguments, '', _TRIALS[preset]
    )
  config.trials.metric = 'negative_elbo'
  config.compared = ','.join(MODELS)
  if preset == 'paper':
    config.seeds = (0, 1, 2, 3)
    # The first is the paper's; the other three of its appendix are lost, and
    # these are choice.
    config.final_variances = (0.9, 0.3, 0.6, 1.5)
  if preset == 'small':
    config.seeds = (0, 1)
    # At these a perfect CGQN gains most of 2 ln 100 nats on 32x32 frames.
    config.final_variances = (0.01, 0.02)
    config.num_steps = 1_500
    config.trials.num_steps = 500
    config.validation.num_scenes = 100
    config.evaluation.num_scenes = 200
    config.evaluation.num_samples = 30
    config.curve.num_scenes = 200
  if preset == 'smoke':
    config_lib.comparison_smoke(config)
    config.seeds = (0, 1)
    config.final_variances = (0.1, 0.9)
    config.curve.points = 4
  return config.lock()
