"""A page in which a person looks around in what a model sampled.

One HTML file that needs no network: explorer.html, beside this file, with the
frames of some scenes put into it. `explore` makes it from a training's folder
or from shipped weights, `page` from any arrays.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
import html
import io
import json
import os
import pathlib
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
import numpy as np
from PIL import Image
import tqdm

from cgqn_jax import images
from cgqn_jax.data import batches, protocols, sources
from cgqn_jax.data.examples import CAMERA, Example
from cgqn_jax.data.protocols import Views
from cgqn_jax.evaluation.sampling import draw_all
from cgqn_jax.models.build import Model
from cgqn_jax.models.sequential import Sequential, check_sequential
from cgqn_jax.training.checkpoints import Step
from cgqn_jax.training.workdir import checkpoint_step, load
from cgqn_jax.types import Params

MOST_BYTES = 10 * 10**6  # of a page
AZIMUTHS = 24  # all around a room of dice, if nothing else is asked for
MARK = '<meta name="generator" content="cgqn_jax explorer">'  # of our pages
_TEMPLATE = pathlib.Path(__file__).with_name('explorer.html')
_VIDEO_FPS, _ROOM_FPS = 4, 12
_LATENTS = {  # what the frames of a sample have in common
  'cgqn': 'one latent of the whole scene, drawn once and rendered everywhere',
  'gqn': 'a latent of its own for each frame, so frames need not agree',
}


class Drawn(NamedTuple):
  """A scene of the page. Frames are bytes or floats in [0, 1].

  label: what it is called.
  samples: [S, T, H, W, 3].
  truth: [T, H, W, 3], or None where nobody knows it.
  names: of the T places along the axis, short, as F7 or 90°.
  texts: the same in words.
  hidden: [T] bool; False where the model saw the very frame.
  context: [C, H, W, 3], what the model saw.
  seen: names of the C frames of the context.
  places: [C] of them along the axis, in steps: 2.5 lies halfway between the
    third and the fourth of the T places.
  cameras: [C + T, 4] x, y of each camera, of the context first, and where it
    looks, cos yaw and sin yaw; None for videos.
  """

  label: str
  samples: np.ndarray
  truth: np.ndarray | None
  names: Sequence[str]
  texts: Sequence[str]
  hidden: np.ndarray
  context: np.ndarray
  seen: Sequence[str]
  places: np.ndarray
  cameras: np.ndarray | None = None


class Axis(NamedTuple):
  """What a person drags.

  name: of it.
  circular: whether its end meets its beginning.
  note: what to tell a person of it, or ''.
  """

  name: str
  circular: bool = False
  note: str = ''


TIME, FRAME = Axis('Time'), Axis('Frame')
AZIMUTH, YAW = Axis('Azimuth', True), Axis('Yaw', True)


def explore(
  workdir: str | os.PathLike[str],
  scenes: Sequence[int] = range(8),
  *,
  step: Step = 'best',
  context: Sequence[int] | None = None,
  num_samples: int = 16,
  azimuths: int | None = None,
  seed: int = 0,
  split: str = 'test',
  source: str | None = None,
  data_path: str | os.PathLike[str] | None = None,
  bar: str | None = None,
) -> str:
  """The page of some scenes, their samples drawn by a trained model: HTML.

  Videos are shown at all their times, rooms of dice from all around. Other
  rooms are shown in their own views, sorted by yaw, beside their truth, or from
  all around by `azimuths`, where nobody knows it. A notebook shows it from a
  file: IPython.display.IFrame('explore.html', 1000, 900).

  Args:
    workdir: of a training, or the name of shipped weights.
    scenes: of the split.
    step: of the checkpoint: a number, 'latest' or 'best'.
    context: frames that the model sees; by default those of the tables.
    num_samples: of each scene.
    azimuths: views all around a room; by default AZIMUTHS of dice, and of
      other rooms those that they have.
    seed: of the samples, which are those of `experiments/sample.py`.
    split: 'train', 'validation' or 'test'.
    source: where scenes are read from, if not where training read them.
    data_path: where their files lie now.
    bar: name of a progress bar; by default there is none.

  Raises:
    ValueError: in one line, for what cannot be drawn, and for a page of more
      than MOST_BYTES, after its first scene.
  """
  step = checkpoint_step(workdir, step)
  model, params, config = load(workdir, step)
  sources.look_elsewhere(config, source, data_path)
  axis, drawn = draw(
    model,
    params,
    config,
    scenes,
    context=context,
    num_samples=num_samples,
    azimuths=azimuths,
    seed=seed,
    split=split,
  )
  shown = tqdm.tqdm(
    drawn, bar, len(scenes), unit=' scenes', disable=bar is None
  )
  data = sources.dataset_name(config)
  name = pathlib.Path(workdir).name
  protocol = {
    'Weights': f'{name}, update {step:,}',
    'Model': _model(config),
    'Data': (
      f'{data}, {split} split, source {config.data.source}, '
      f'{config.data.frame_size} x {config.data.frame_size} pixels'
    ),
    'Scenes': ', '.join(map(str, scenes)),
    'Seen': _seen(config, context),
    'Samples': f'{num_samples} of each scene, clipped to [0, 1], no noise added'
    f' to pixels; {_LATENTS.get(config.model.name, "drawn frame after frame")}',
    'Seed': str(seed),
    'Spread': (
      'standard deviation over samples (of N - 1), root mean square over '
      'colors, and over pixels for that of a frame; white is 1'
    ),
    'MSE': 'mean over pixels and colors of the squared error, of 8-bit frames',
  }
  notes = [axis.note.capitalize()]
  if context is not None:
    notes.append(protocols.outside_training(config, context))
  if note := '; '.join(filter(None, notes)):
    protocol['Note'] = note
  return page(
    shown,
    title=data.replace('/', ': ').replace('_', ' ').capitalize(),
    subtitle=f'{num_samples} samples of each scene, drawn by {name}',
    axis=axis,
    protocol=protocol,
    expected=len(scenes),
  )


def draw(
  model: Model,
  params: Params,
  config: ConfigDict,
  scenes: Sequence[int],
  *,
  context: Sequence[int] | None = None,
  num_samples: int = 16,
  azimuths: int | None = None,
  seed: int = 0,
  split: str = 'test',
) -> tuple[Axis, Iterator[Drawn]]:
  """What a person drags, and the scenes, drawn when they are asked for.

  Arguments are as in `explore`.
  """
  if len(scenes) == 0:
    raise ValueError('no scene is named')
  if num_samples < 1:
    raise ValueError(f'num_samples is {num_samples}; it must be 1 or more')
  if azimuths is None and sources.can_turn(config):
    azimuths = AZIMUTHS
  turns = azimuths is not None
  source = sources.open_source(config, split)
  examples = batches.scenes(source, scenes)
  views = [
    Views(
      protocols.for_config(config).for_tables(config, example).context
      if context is None
      else np.array(context, int),
      np.zeros(1, int) if turns else _order(example),
    )
    for example in examples
  ]
  batch = batches.make_batch(source, examples, views)
  if turns:
    table = sources.turntable(config, split, scenes, azimuths)
    target = table.scenes
    every = np.ones(target.views.shape[:2], bool)
    batch = batch._replace(target=target, target_mask=every)
  batch = jax.device_get(batch)
  if isinstance(model, Sequential):
    check_sequential(
      batch.context.views,
      batch.target.views,
      config.data.num_frames,
      queries=True,
    )

  def each() -> Iterator[Drawn]:
    key = jax.random.key(seed)
    for i, scene in enumerate(scenes):
      one = jax.tree.map(lambda x, i=i: x[i : i + 1], batch)
      samples = draw_all(model, params, key, one, num_samples)[:, 0]
      if turns:
        yield _around(str(scene), one, views[i], samples, table)
      else:
        yield _along(str(scene), one, views[i], samples)

  if turns:
    return AZIMUTH._replace(note=table.note), each()
  axes = {1: TIME, CAMERA: YAW}
  return axes.get(config.data.view_size, FRAME), each()


def page(
  scenes: Any,
  *,
  title: str,
  subtitle: str = '',
  axis: Axis = TIME,
  protocol: Mapping[str, str] | None = None,
  expected: int | None = None,
) -> str:
  """The page of these scenes: HTML that needs nothing else.

  Args:
    scenes: an iterable of Drawn, all frames of one size.
    title: of the page.
    subtitle: a line below it.
    axis: what a person drags.
    protocol: what stands below the pictures, name by name.
    expected: scenes that there will be, so that a page that would be too
      large is refused after the first.

  Raises:
    ValueError: for no scene, or more than MOST_BYTES.
  """
  encoded, sizes, length = [], set(), 0
  for scene in scenes:
    sizes.add(np.shape(scene.samples)[2:4])
    encoded.append(_encode(scene))
    length += len(json.dumps(encoded[-1]))
    whole = length * max(expected or 0, len(encoded)) / len(encoded)
    if whole > MOST_BYTES:
      fit = MOST_BYTES * len(encoded) // length
      raise ValueError(
        f'the page would have about {whole / 1e6:.0f} MB; it may have '
        f'{MOST_BYTES / 1e6:.0f}: show {fit} scenes or fewer, fewer samples of '
        'each, or fewer azimuths of a room'
      )
  if not encoded:
    raise ValueError('there is no scene to show')
  if len(sizes) > 1:
    raise ValueError(f'frames are of sizes {sorted(sizes)}; give one size')
  data = {
    'size': list(*sizes),
    'axis': axis.name,
    'circular': axis.circular,
    'fps': _ROOM_FPS if axis.circular else _VIDEO_FPS,
    'all': 'MSE, hidden frames' if not axis.circular else 'MSE, all views',
    'subtitle': subtitle,
    'protocol': list((protocol or {}).items()),
    'scenes': encoded,
  }
  # No text may end the element that holds it.
  text = json.dumps(data, separators=(',', ':')).replace('<', '\\u003c')
  made = _TEMPLATE.read_text('utf-8')
  made = made.replace('{{title}}', html.escape(title))
  return made.replace('{{data}}', text)


def _encode(scene: Drawn) -> dict[str, Any]:
  """What the page's script reads of a scene."""
  rows = images.to_uint8(scene.samples)
  if scene.truth is not None:
    rows = np.concatenate([images.to_uint8(scene.truth)[None], rows])
  count = len(scene.context)
  cameras = scene.cameras
  if cameras is not None:
    cameras = np.round(cameras, 4)
    cameras = {
      'seen': cameras[:count].tolist(),
      'asked': cameras[count:].tolist(),
    }
  return {
    'label': scene.label,
    'frames': _sprite(rows),
    'truth': scene.truth is not None,
    'context': _sprite(images.to_uint8(scene.context)[None]) if count else None,
    'seen': list(scene.seen),
    'places': np.round(scene.places, 3).tolist(),
    'names': list(scene.names),
    'texts': list(scene.texts),
    'hidden': np.asarray(scene.hidden, bool).tolist(),
    'cameras': cameras,
  }


def _sprite(frames: np.ndarray) -> str:
  """Bytes [rows, columns, H, W, 3] as one PNG, in a data URI."""
  rows, columns, height, width, _ = frames.shape
  sheet = frames.swapaxes(1, 2).reshape(rows * height, columns * width, 3)
  file = io.BytesIO()
  Image.fromarray(sheet).save(file, 'PNG', optimize=True)
  return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()


def _order(example: Example) -> np.ndarray:
  """All frames of a scene: as they follow each other, or by yaw."""
  if example.views.shape[1] != CAMERA:
    return np.arange(len(example.views))
  return np.argsort(_yaw(example.views), kind='stable')


def _yaw(views: np.ndarray) -> np.ndarray:
  """Degrees from 0 to 360, where cameras [..., 7] look."""
  return np.degrees(np.arctan2(views[..., 3], views[..., 4])) % 360


def _along(label: str, one: Any, views: Views, samples: np.ndarray) -> Drawn:
  """A scene of a batch of one, shown at its own frames."""
  context, order = views.context, views.targets
  count = len(order)
  asked = np.asarray(one.target.views)[0, :count]
  seen = np.asarray(one.context.views)[0, : len(context)]
  names = [f'F{frame + 1}' for frame in order]
  texts = [f'frame {frame + 1} of {count}' for frame in order]
  cameras = None
  if asked.shape[1] == 1:
    texts = [
      f'{text}, t = {time:.2f}'
      for text, time in zip(texts, asked[:, 0], strict=True)
    ]
  if asked.shape[1] == CAMERA:
    degrees = [f'{angle:.0f}°' for angle in _yaw(asked)]
    texts = [f'{a}, {t}' for a, t in zip(degrees, texts, strict=True)]
    cameras = _from_above(seen, asked)
  return Drawn(
    label=label,
    samples=samples[:, :count],
    truth=np.asarray(one.target.frames)[0, :count],
    names=names,
    texts=texts,
    hidden=~np.isin(order, context),
    context=np.asarray(one.context.frames)[0, : len(context)],
    seen=[f'F{frame + 1}' for frame in context],
    places=np.argsort(order)[context].astype(float),
    cameras=cameras,
  )


def _around(
  label: str,
  one: Any,
  views: Views,
  samples: np.ndarray,
  table: sources.Turntable,
) -> Drawn:
  """A room of a batch of one, shown from all around."""
  asked, count = np.asarray(one.target.views)[0], samples.shape[1]
  seen = np.asarray(one.context.views)[0, : len(views.context)]
  x, y = (seen[:, :2] - table.middle).T
  if np.allclose(asked[:, :2], table.middle, atol=1e-6):
    y, x = seen[:, 3:5].T  # a look around from one place: sin, cos of the yaw
  angles = np.degrees(np.arctan2(y, x)) % 360
  degrees = [360 * i / count for i in range(count)]
  return Drawn(
    label=label,
    samples=samples,
    truth=np.asarray(one.target.frames)[0] if table.known else None,
    names=[f'{angle:.0f}°' for angle in degrees],
    texts=[f'{angle:g} degrees' for angle in degrees],
    hidden=np.ones(count, bool),
    context=np.asarray(one.context.frames)[0, : len(seen)],
    seen=[f'{angle:.0f}°' for angle in angles],
    places=angles / 360 * count,
    cameras=_from_above(seen, asked),
  )


def _from_above(*cameras: np.ndarray) -> np.ndarray:
  """[N, 4] x, y, cos yaw, sin yaw."""
  return np.concatenate(cameras)[:, [0, 1, 4, 3]]


def _model(config: ConfigDict) -> str:
  networks = config.model.get('networks')
  return config.model.name + (f', {networks} networks' if networks else '')


def _seen(config: ConfigDict, context: Sequence[int] | None) -> str:
  """What the model saw, in words."""
  if context is None and config.data.protocol == 'hidden_side':
    return (
      f'{protocols.TEST_CONTEXT} views of each room, as in the tables: they '
      'show every side of the cube but one'
    )
  frames = config.data.test_context if context is None else context
  names = ', '.join(f'F{frame + 1}' for frame in frames)
  return f'{names or "nothing"}, of F1 to F{config.data.num_frames}'
