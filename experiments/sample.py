r"""Draws futures, pasts and anything between from a trained model.

  python experiments/sample.py --workdir=W --context=0,5 --queries=0:21 \
      --num_samples=4 --out=S.gif

Any frames in, any frames out: forwards (--context=0,1,2 --queries=3:21),
backwards (--context=15,20 --queries=0:15), in between, or one far frame
(--queries=20). The suffix of --out decides: .png is a sheet (scenes and
samples in rows, queries in columns); .gif (256 colors), .apng and .webp (all
colors) and .mp4 (needs imageio-ffmpeg) move, a scene in each row; .npz holds
the arrays.

  python experiments/sample.py --workdir=W --scene=12 --turntable=48 \
      --out=turn.gif

Around a sampled room (dice) in 48 views. The context, unless --context names
views, is that of the tables: it shows every side of the cube but one.
"""

import sys

from absl import flags
import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import cli, films, images
from cgqn_jax.data import batches, protocols, sources
from cgqn_jax.data.protocols import Views
from cgqn_jax.evaluation.sampling import draw_all
from cgqn_jax.models.sequential import Sequential, check_sequential
from cgqn_jax.simulators import dice
from cgqn_jax.training.workdir import load
from cgqn_jax.types import Batch, Scene

_WORKDIR = cli.path_flag(
  'workdir', None, 'Folder of a training, or of shipped weights.'
)
_CONTEXT = flags.DEFINE_string(
  'context',
  None,
  "Frames that the model sees, as 0,5 or 0:6 or '' for none; by default "
  'those of the tables.',
)
_QUERIES = flags.DEFINE_string(
  'queries', None, 'Frames to draw, as 6:21 or 20,0; by default all.'
)
_TURNTABLE = flags.DEFINE_integer(
  'turntable',
  None,
  'Draw this many views all around the room (dice) instead of --queries.',
  lower_bound=1,
)
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', 4, 'Samples of each scene.', lower_bound=1
)
_SCENES = flags.DEFINE_string(
  'scenes', '0', 'Scenes of the split, as 0 or 3,7 or 0:4.'
)
flags.DEFINE_alias('scene', 'scenes')
_SPLIT = flags.DEFINE_enum(
  'split', 'test', ['train', 'validation', 'test'], 'Where scenes come from.'
)
_STEP = cli.step_flag()
_SEED = cli.seed_flag('Of the samples.')
_SOURCE = cli.source_flag()
_DATA_PATH = cli.data_path_flag()
_FPS = flags.DEFINE_float(
  'fps', None, 'Frames a second of what moves; 4, of a turntable 12.'
)
_OUT = cli.path_flag('out', 'samples.gif', 'Picture to write.')


def read_batch(
  config: ConfigDict, scenes: list[int], queries: list[int]
) -> tuple[Batch, list[list[int]]]:
  """The scenes that are asked for, and the frames of each that are context.

  These are --context, or those of the tables.
  """
  source = sources.open_source(config, _SPLIT.value)
  examples = batches.scenes(source, scenes)
  if _CONTEXT.value is None:
    for_tables = protocols.for_config(config).for_tables
    seen = [for_tables(config, example).context for example in examples]
  else:
    given = cli.parse_frames(_CONTEXT.value, 'context', config.data.num_frames)
    seen = [np.array(given, int)] * len(examples)
  views = [Views(context, np.array(queries, int)) for context in seen]
  batch = batches.make_batch(source, examples, views)
  return batch, [context.tolist() for context in seen]


def warn_outside_training(config: ConfigDict, context: list[int]) -> None:
  """Says so when a model was never trained on such a context."""
  data, size = config.data, len(context)
  usual = data.min_context <= size <= data.max_context
  trained = f'{data.min_context} to {data.max_context} '
  if data.protocol == 'hidden_side':
    trained += 'views that hide a side of the cube'
  else:
    usual &= all(frame < data.context_window for frame in context)
    trained += f'of the first {data.context_window} frames'
    if data.any_context_share > 0:
      usual |= size <= data.max_context
      trained += f', or 0 to {data.max_context} of all'
  if not usual:
    print(
      f'note: the model was trained on {trained}; this context of {size} is '
      'outside of that',
      file=sys.stderr,
    )


def turntable(config: ConfigDict, scenes: list[int]) -> Scene:
  """Views all around these rooms, drawn by the simulator."""
  if _QUERIES.value is not None:
    raise ValueError('give --queries or --turntable, not both')
  if config.dataset != 'dice' or config.data.source not in (
    'tfds',
    'simulator',
  ):
    raise ValueError(
      f'--turntable needs rooms that the simulator can draw, those of dice; '
      f'this is {config.dataset}, source {config.data.source!r}'
    )
  # Refuses rooms that no style describes.
  stream = sources.DiceStream(config, _SPLIT.value)
  cameras = dice.turntable(_TURNTABLE.value)
  style = dice.STYLES[config.data.config]
  rooms = dice.sample_batch(_SPLIT.value, scenes, style=style)
  views = np.repeat(cameras[None], len(scenes), axis=0)
  fixed = {k: v for k, v in rooms._asdict().items() if k != 'cameras'}
  return Scene(np.asarray(stream.to_frames(views, fixed)), views)


def saw(seen: dict[int, list[int]], orange: bool) -> str:
  """What the model saw of each scene, in words."""
  names = {scene: images.frame_names(seen[scene]) for scene in seen}
  color = ' (orange)' if orange else ''
  if len(set(names.values())) == 1:
    return f'The model saw {next(iter(names.values()))}{color}.'
  each = '; '.join(f'scene {scene}: {text}' for scene, text in names.items())
  return f'The model saw of {each}{color}.'


def draw() -> None:
  """Reads the flags, samples, writes the picture."""
  path, fps = images.check_path(_OUT.value), _FPS.value
  if fps is None:
    fps = 12.0 if _TURNTABLE.value else 4.0
  films.check_fps(fps)
  model, params, config = load(_WORKDIR.value, _STEP.value)
  sources.look_elsewhere(config, _SOURCE.value, _DATA_PATH.value)
  queries = list(range(config.data.num_frames))
  if _QUERIES.value is not None:
    queries = cli.parse_frames(_QUERIES.value, 'queries', len(queries))
  if not queries:
    raise ValueError('--queries names no frame')
  scenes = cli.parse_frames(_SCENES.value, 'scenes', 10**9)
  if not scenes:
    raise ValueError('--scenes names no scene')
  batch, seen = read_batch(config, scenes, queries)
  warn_outside_training(config, seen[0])
  columns = [f'F{frame + 1}' for frame in queries]
  marked = np.array([np.isin(queries, context) for context in seen])
  if count := _TURNTABLE.value:
    batch = batch._replace(target=turntable(config, scenes))
    queries = []
    columns = [f'{round(360 * i / count)}°' for i in range(count)]
    marked = np.zeros((len(scenes), count), bool)
  if isinstance(model, Sequential):
    check_sequential(
      batch.context.views,
      batch.target.views,
      config.data.num_frames,
      queries=True,
    )
  samples = draw_all(
    model, params, jax.random.key(_SEED.value), batch, _NUM_SAMPLES.value
  )
  # Truth first, then its samples, scene by scene.
  truth = images.to_uint8(batch.target.frames)
  rows = np.concatenate([truth[None], images.to_uint8(samples)])
  images.save(
    path,
    np.swapaxes(rows, 0, 1),
    scene_labels=[f'scene {scene}' for scene in scenes],
    sample_labels=[
      'truth',
      *(f'sample {i + 1}' for i in range(_NUM_SAMPLES.value)),
    ],
    time_labels=columns,
    context=marked,
    note=saw(dict(zip(scenes, seen, strict=True)), bool(marked.any())),
    fps=fps,
    arrays={
      'samples': samples,
      'truth': np.asarray(batch.target.frames),
      'views': np.asarray(batch.target.views),
      'queries': np.array(queries),
      'context': np.array(seen),
      'scenes': np.array(scenes),
    },
  )
  print(f'{len(scenes)} scene(s), {_NUM_SAMPLES.value} samples each: {path}')


if __name__ == '__main__':
  cli.start(draw, required=('workdir',))
