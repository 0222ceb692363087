r"""Five models of videos on one footing (paper, section 4.1, figure 5).

  python experiments/compare.py --config=configs/comparison.py \
      --out=runs/comparison
      the paper's: 15 runs of each model, Traveling Salesman at 64x64.
  ... --config=configs/comparison.py:preset=small
      3 runs of each at 32x32, for a CPU.
  ... :preset=smoke
      shows that everything runs: a minute or two a run, nearly all compiling.
  ... --config.compared=cgqn,gqn
      some of the models.

Whatever the presets of the models say, their renderers do not see the context;
cgqn_context is CGQN once more, with one that does.
"""

from ml_collections import ConfigDict

from cgqn_jax import comparison
from cgqn_jax import config as config_lib

_ARGUMENTS = {'preset': config_lib.PRESETS}
# Name here -> name in configs/narratives.py, and overrides.
MODELS = {
  'sssm': ('sssm', ''),
  'sv2p': ('sv2p', ''),
  'cdna': ('cdna', ''),
  'gqn': ('gqn', 'model.renderer_sees_context=False'),
  'cgqn': ('cgqn', 'model.renderer_sees_context=False'),
  'cgqn_context': ('cgqn', 'model.renderer_sees_context=True'),
}
# Equally many parameters; those of the smoke test have their own.
_SIZES = {'paper': ',size=M', 'small': ',size=S', 'smoke': ''}


def get_config(arg: str = '') -> ConfigDict:
  """The experiment of `preset=...`."""
  file = 'configs/comparison.py'
  preset = config_lib.parse_arguments(file, arg, _ARGUMENTS)['preset']
  config = comparison.base(preset, 'configs/narratives.py')
  for name, (its, overrides) in MODELS.items():
    arguments = f'preset={preset},model={its}{_SIZES[preset]}'
    config.models[name] = comparison.model(arguments, overrides)
  config.compared = ','.join(MODELS)
  # Figure 5b: 4 of 15 runs; fewer than 7 say nothing of their best third.
  config.chosen_share = 0.3
  config.chosen_from = 7
  config.evaluation.num_samples = 30
  if preset == 'paper':
    config.seeds = tuple(range(15))
    config.curve.num_scenes = 200
  if preset == 'small':
    config.num_steps = 3_000
    config.evaluation.num_scenes = 200
    config.curve.num_scenes = 50
  if preset == 'smoke':
    config.num_steps = 20
    config.overrides = 'data.source=simulator'
    config.evaluation.num_scenes = 4
    config.evaluation.num_samples = 3
    config.evaluation.num_draws = 2
    config.evaluation.batch_size = 4
    config.curve.points = 2
    config.curve.num_scenes = 4
    config.curve.num_samples = 3
    config.curve.num_draws = 2
  return config.lock()
