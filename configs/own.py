r"""Your own videos or rooms, as experiments/import_data.py writes them.

  python experiments/train.py --config=configs/own.py:path=data/mine
      the residual networks on the folder data/mine, on a CPU.
  ... :preset=smoke,path=data/mine
      a minute; shows that everything runs, learns nothing worth a look.
  ... :preset=accelerator,path=data/mine
      larger ones in bfloat16.
  ... :latent=choices,path=data/mine --config.init_from=traveling_salesman
      videos from shipped weights, or from your own first run, with a latent of
      choices; that of rooms always is one.
  ... :networks=draw,path=data/mine
      the paper's networks.
  ... :model=gqn,path=data/mine
      the baseline with a latent for each target, otherwise the same.

Frame size and lengths are those of the folder's dataset.json. All else is our
choice: no paper says what CGQN does with your scenes. On videos it is that of
configs/narratives.py for Traveling Salesman.
"""

from ml_collections import ConfigDict

from cgqn_jax import config as config_lib
from cgqn_jax import files
from cgqn_jax.data.importing import Dataset, read_dataset

_ARGUMENTS = {
  'preset': ('small', 'smoke', 'accelerator'),
  'model': ('cgqn', 'gqn'),
  'networks': ('preset', *config_lib.NETWORKS),
  'latent': ('numbers', 'choices'),  # of residual networks
}
_CONTEXT = 6  # frames at most, of which a share is seen in the tables


def get_config(arg: str = '') -> ConfigDict:
  """The config of `path=...,preset=...` and the other arguments.

  Raises:
    ValueError: for a path without a dataset, and arguments that there are not
      or that do not go together.
  """
  parts = arg.split(',')
  paths = [x.removeprefix('path=') for x in parts if x.startswith('path=')]
  others = ','.join(x for x in parts if not x.startswith('path='))
  args = config_lib.parse_arguments('configs/own.py', others, _ARGUMENTS)
  if len(paths) != 1:
    raise ValueError(
      'configs/own.py: give the folder of your scenes, as '
      'configs/own.py:path=data/mine (its path without commas)'
    )
  path = files.as_path(paths[0])
  dataset = read_dataset(path)
  config = config_lib.base('own', args['preset'], args['model'])
  networks = config_lib.networks(args['preset'], args['networks'])
  if args['preset'] == 'small' and networks == 'draw':
    config_lib.small(config)
  if args['preset'] == 'smoke':
    config_lib.smoke(config)
  config.data.source, config.data.path = 'folder', str(path)
  scenes(config, dataset)
  if networks == 'residual':
    rooms = dataset.view_size > 1
    residual(config, args['preset'], rooms or args['latent'] == 'choices')
  elif args['latent'] == 'choices':
    raise ValueError(
      'configs/own.py: latent=choices is of the residual networks; leave out '
      'networks=draw'
    )
  config.data.frame_size = dataset.frame_size
  return config.lock()


def scenes(config: ConfigDict, dataset: Dataset) -> None:
  """What is seen and what is asked for, by the lengths of the scenes."""
  data, shortest = config.data, dataset.shortest
  data.tiny = False
  data.config = dataset.name
  data.num_frames = dataset.num_frames
  data.view_size = dataset.view_size
  data.protocol = 'frames'
  data.min_context = 1
  data.max_context = min(_CONTEXT, shortest - 1)
  rooms = dataset.view_size > 1
  # Pictures of a room come in no order; of half of the videos any frames are
  # seen, of the others some of the first.
  data.context_window = dataset.num_frames if rooms else data.max_context
  data.any_context_share = 0.0 if rooms else 0.5
  shown = data.max_context if rooms else max(1, min(_CONTEXT, shortest // 3))
  data.test_context = tuple(range(shown))
  data.num_targets = min(6, shortest - shown)
  final = 0.5 if data.frame_size >= 64 else 0.1
  config.pixel_variance = config_lib.levels((0.0, 1.0), (0.1, final), 'linear')


def residual(config: ConfigDict, preset: str, choices: bool) -> None:
  """The residual networks; configs/narratives.py says what each buys."""
  config_lib.residual(config, preset)
  config.model.codes = config.model.fine = 0
  config.num_rendered = min(4, config.data.num_targets)
  if choices:
    config_lib.choices(config)
  else:
    config.kl_weight = config_lib.levels(
      (0.0, 0.1, 0.25), (0.3, 0.3, 1), 'linear'
    )
  config.pixel_variance = config_lib.levels(
    (0.0, 0.6, 0.9), (1.0, 1.0, 0.3), 'linear'
  )
  if preset != 'smoke':
    config.num_steps = 17_000
