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

Around a sampled room in 48 views. Of dice the truth is beside it, and the
context, unless --context names views, is that of the tables: it shows every
side of the cube but one. Around other rooms with cameras it goes on a ring
like those cameras: at their usual distance, height and pitch.

  python experiments/sample.py --workdir=color_reaction --frames=PATH \
      --context=0,5 --out=S.gif

From pictures of your own: PATH is a folder of them, a GIF, an array, or what
else import_data.py reads. --context names the frame that each picture is, by
default 0, 1, 2, ...; or it picks some of the pictures, and the others are
shown as the truth.
"""

import pathlib
import sys

from absl import flags
import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax import cli, fields, films, images
from cgqn_jax.data import batches, folders, protocols, sources, videos
from cgqn_jax.data.protocols import Views
from cgqn_jax.evaluation.sampling import blanked, draw_all
from cgqn_jax.models.sequential import Sequential, check_sequential
from cgqn_jax.training.workdir import load
from cgqn_jax.types import Batch, Scene

_WORKDIR = cli.weights_flag()
_CONTEXT = cli.context_flag(', and all of --frames')
_FRAMES = cli.path_flag(
  'frames', None, 'Pictures of your own, instead of scenes of a dataset.'
)
_FIT = flags.DEFINE_enum(
  'fit',
  'crop',
  videos.FITS,
  'Those that are not square: keep their middle, put all of them between '
  'black bars, or distort them.',
)
_QUERIES = flags.DEFINE_string(
  'queries', None, 'Frames to draw, as 6:21 or 20,0; by default all.'
)
_TURNTABLE = flags.DEFINE_integer(
  'turntable',
  None,
  'Draw this many views all around the room instead of --queries.',
  lower_bound=1,
)
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', 4, 'Samples of each scene.', lower_bound=1
)
_SCENES = cli.scenes_flag('0')
flags.DEFINE_alias('scene', 'scenes')
_SPLIT = cli.split_flag()
_STEP = cli.step_flag()
_SEED = cli.seed_flag('Of the samples.')
_SOURCE = cli.source_flag()
_DATA_PATH = cli.data_path_flag()
_FPS = flags.DEFINE_float(
  'fps', None, 'Frames a second of what moves; 4, of a turntable 12.'
)
_OUT = cli.path_flag('out', 'samples.gif', 'Picture to write.')


def read_batch(
  config: ConfigDict, scenes: list[int], queries: list[int] | None
) -> tuple[Batch, list[list[int]]]:
  """The scenes that are asked for, and the frames of each that are context.

  These are --context, or those of the tables. Queries are all, if None.
  """
  source = sources.open_source(config, _SPLIT.value)
  examples = batches.scenes(source, scenes)
  if _CONTEXT.value is None:
    for_tables = protocols.for_config(config).for_tables
    seen = [for_tables(config, example).context for example in examples]
  else:
    given = cli.parse_frames(_CONTEXT.value, 'context', config.data.num_frames)
    seen = [np.array(given, int)] * len(examples)
  views = [
    Views(
      context,
      np.arange(len(example.views))
      if queries is None
      else np.array(queries, int),
    )
    for context, example in zip(seen, examples, strict=True)
  ]
  batch = batches.make_batch(source, examples, views)
  return batch, [context.tolist() for context in seen]


def read_own(
  config: ConfigDict, path: pathlib.Path, queries: list[int] | None
) -> tuple[Batch, list[list[int]]]:
  """The pictures of --frames as a batch of one scene, and its context.

  Targets that are not among the pictures are padding by its target_mask.
  """
  data = config.data
  if not videos.is_scene(path):
    raise ValueError(
      f'--frames is {path}; give a folder of pictures, or an animation, a '
      'video or an array of them'
    )
  found = list(videos.read(path, videos.Shape(data.frame_size, _FIT.value)))
  if len(found) > 1:
    raise ValueError(f'--frames is {path}, which holds {len(found)} videos')
  frames, views = found[0].frames, found[0].views
  count = len(frames)
  most = data.num_frames if views is None else count
  context = list(range(count))
  if _CONTEXT.value is not None:
    context = cli.parse_frames(_CONTEXT.value, 'context', most)
  numbers = context if len(context) == count else range(count)
  lacking = [frame for frame in context if frame not in numbers]
  if lacking or max(context, default=0) >= most:
    raise ValueError(
      f'--frames has {count} pictures, the model knows frames 0 to {most - 1}, '
      f'and --context names {fields.shown(context)}: give a frame for each '
      'picture, or the numbers of some pictures'
    )
  if max(queries or [0]) >= most:
    raise ValueError(f'--queries: {path} has views of {most} pictures alone')
  views = folders.scene_views(config, path, views, most)
  place = {number: i for i, number in enumerate(numbers)}
  asked = np.arange(most) if queries is None else np.array(queries, int)
  known = np.array([query in place for query in asked])
  targets = np.zeros((len(asked), *frames.shape[1:]), np.uint8)
  targets[known] = frames[[place[query] for query in asked[known]]]
  seen = np.array(context, int)
  slots = max(1, len(seen))  # a context of none is padding
  shown = np.zeros((slots, *frames.shape[1:]), np.uint8)
  shown[: len(seen)] = frames[[place[frame] for frame in context]]
  shown_views = np.zeros((slots, views.shape[1]), np.float32)
  shown_views[: len(seen)] = views[seen]
  batch = Batch(
    context=Scene(shown[None], shown_views[None]),
    context_mask=(np.arange(slots) < len(seen))[None],
    target=Scene(targets[None], views[asked][None]),
    target_mask=known[None],
    weight=np.ones(1, np.float32),
    example_id=np.zeros(1, np.int32),
  )
  return batch, [context]


def shown(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Bytes; where some are padding floats, these blank."""
  frames = images.to_uint8(frames)
  return frames if np.all(mask) else blanked(frames, mask)


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
  queries = None
  if _QUERIES.value is not None:
    queries = cli.parse_frames(
      _QUERIES.value, 'queries', config.data.num_frames
    )
    if not queries:
      raise ValueError('--queries names no frame')
  scenes = cli.parse_frames(_SCENES.value, 'scenes', 10**9)
  if not scenes:
    raise ValueError('--scenes names no scene')
  own = _FRAMES.value
  if own:
    if _SCENES.present or _TURNTABLE.value:
      raise ValueError('give --frames alone, without --scenes or --turntable')
    batch, seen = read_own(config, own, queries)
    scenes = [0]
  else:
    batch, seen = read_batch(config, scenes, queries)
  queries = queries or list(range(batch.target.views.shape[1]))
  if note := protocols.outside_training(config, seen[0]):
    print(f'note: {note}', file=sys.stderr)
  columns = [f'F{frame + 1}' for frame in queries]
  marked = np.array([np.isin(queries, context) for context in seen])
  known = True  # whether there is a truth to show
  if count := _TURNTABLE.value:
    if _QUERIES.value is not None:
      raise ValueError('give --queries or --turntable, not both')
    table = sources.turntable(config, _SPLIT.value, scenes, count)
    if table.note:
      print(f'note: {table.note}', file=sys.stderr)
    known = table.known
    every = np.ones((len(scenes), count), bool)
    batch = batch._replace(target=table.scenes, target_mask=every)
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
  print(
    'sampling; the model is compiled first, in seconds to a minute ...',
    file=sys.stderr,
  )
  samples = draw_all(
    model, params, jax.random.key(_SEED.value), batch, _NUM_SAMPLES.value
  )
  # Truth first, then its samples, scene by scene.
  # The model draws what nobody knows; of videos it draws none beyond their end.
  rows = shown(samples, True if own else batch.target_mask)
  names = [f'sample {i + 1}' for i in range(_NUM_SAMPLES.value)]
  if known:
    truth = shown(batch.target.frames, batch.target_mask)
    rows = np.concatenate([truth[None], rows])
    names.insert(0, 'given' if own else 'truth')
  arrays = {
    'samples': samples,
    'truth': np.asarray(batch.target.frames),
    'views': np.asarray(batch.target.views),
    'queries': np.array(queries),
    'context': np.array(seen),
    'scenes': np.array(scenes),
  }
  if not known:
    del arrays['truth']
  if not np.all(batch.target_mask):
    arrays['known'] = np.asarray(batch.target_mask)  # of the truth
  images.save(
    path,
    np.swapaxes(rows, 0, 1),
    scene_labels=[own.name] if own else [f'scene {n}' for n in scenes],
    sample_labels=names,
    time_labels=columns,
    context=marked,
    note=saw(dict(zip(scenes, seen, strict=True)), bool(marked.any())),
    fps=fps,
    arrays=arrays,
  )
  what = f'{len(seen[0])} pictures' if own else f'{len(scenes)} scene(s)'
  print(f'{what}, {_NUM_SAMPLES.value} samples each: {path}')


if __name__ == '__main__':
  cli.start(draw, required=('workdir',))
