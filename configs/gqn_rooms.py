r"""The public GQN datasets (Eslami et al., 2018): rooms, objects and mazes.

  python experiments/train.py --config=configs/gqn_rooms.py:rooms=jaco \
      --config.data.path=gqn-dataset/jaco
      the paper's model of the dice, 64x64, on <path>/train.
  python experiments/train.py --config=configs/gqn_rooms.py:preset=small \
      --config.data.path=gqn-dataset/shepard_metzler_5_parts
      32x32 on a CPU.
  ... :preset=smoke
      a minute of compiling, ten seconds once that is kept, on the first file
      alone; learns nothing worth a look.
  ... :networks=residual
      blocks modulated by the camera instead of the paper's networks.
  ... :model=gqn
      the baseline with a latent for each target, otherwise the same.

data.path is a folder with train/ and test/, copied from gs://gqn-dataset; a
few of the files will do. No paper says what CGQN does with them: the settings
are those of the dice (section 4.2), and the rest is choice.
"""

from ml_collections import ConfigDict

from cgqn_jax import config as config_lib

# Views used of each scene (all, but for the 300 of the mazes), and the most of
# them that are context, which is choice.
ROOMS = {
  'shepard_metzler_5': (15, 6),
  'shepard_metzler_7': (15, 6),
  'rooms_ring_camera': (10, 5),
  'rooms_free_camera_no_object_rotations': (10, 5),
  'rooms_free_camera_with_object_rotations': (10, 5),
  'jaco': (11, 6),
  'mazes': (30, 20),
}
_ARGUMENTS = {
  'preset': config_lib.PRESETS,
  'rooms': tuple(ROOMS),
  'model': ('cgqn', 'gqn'),
  'networks': config_lib.NETWORKS,
}


def get_config(arg: str = '') -> ConfigDict:
  """The config of `preset=...,rooms=...,model=...,networks=...`."""
  args = config_lib.parse_arguments('configs/gqn_rooms.py', arg, _ARGUMENTS)
  config = config_lib.base('rooms', args['preset'], args['model'])
  paper(config, args['rooms'])
  if args['preset'] == 'small':
    small(config)
  if args['preset'] == 'smoke':
    config_lib.smoke(config)
  if args['networks'] == 'residual':
    config_lib.residual(config, args['preset'])
    config_lib.choices(config)
  return config.lock()


def paper(config: ConfigDict, rooms: str) -> None:
  """The dice's widths, GQN's pixel-variance."""
  num_frames, max_context = ROOMS[rooms]
  config.data.source = 'gqn'
  config.data.config = rooms
  config.data.num_frames = num_frames
  config.data.view_size = 7  # V: x, y, z, sin yaw, cos yaw, sin, cos pitch
  config.data.protocol = 'frames'
  # Views come in no order: any of them are context, any of them targets.
  config.data.min_context = 1
  config.data.max_context = max_context
  config.data.context_window = num_frames
  config.data.any_context_share = 0.0
  config.data.num_targets = 3
  config.data.test_context = tuple(range(max_context))

  config.model.draw_steps = 6
  config.model.nf_to_hidden = 128
  config.model.nf_dec = 128

  # GQN's standard deviation goes from 2.0 to 0.7 in 200,000 steps.
  config.pixel_variance = config_lib.levels((0.0, 0.5), (4.0, 0.49), 'linear')


def small(config: ConfigDict) -> None:
  """32x32, for a CPU; see configs/dice.py for the pixel-variance."""
  config_lib.small(config)
  config.num_steps = 6_000
  config.model.draw_steps = 4
  config.pixel_variance.values = (0.04, 0.02)
