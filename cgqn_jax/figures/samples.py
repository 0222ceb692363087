"""Samples of named scenes, as the figures show them.

Paper, figures 3, 4 and 7: several models asked the same about the same scenes.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.data import batches, sources
from cgqn_jax.evaluation import dice_judge
from cgqn_jax.simulators import dice
from cgqn_jax.training import workdir as workdir_lib
from cgqn_jax.types import Scene


class RoomFigure(NamedTuple):
  """One room of figure 7.

  context, truth: [C, H, W, 3], [T, H, W, 3] frames in [0, 1] or bytes.
  cameras: [C + T, 7], in that order.
  cube: x, y, yaw; side: the hidden one.
  samples: model -> [S, T, H, W, 3].
  readings: model -> [S, T] digits that the judge names, of 100; -1 for none.
  label: of the room.
  """

  context: np.ndarray
  truth: np.ndarray
  cameras: np.ndarray
  cube: np.ndarray
  side: int
  samples: dict[str, np.ndarray]
  readings: dict[str, np.ndarray]
  label: str


Loaded = tuple[Any, Any, ConfigDict]  # of `workdir.load`


def load(
  workdirs: Mapping[str, pathlib.Path], source: str | None
) -> dict[str, Loaded]:
  """Models by name, all of the same data; ValueError where they are not."""
  loaded = {}
  for name, workdir in workdirs.items():
    model, params, config = workdir_lib.load(workdir)
    if source:
      config.data.source = source
    loaded[name] = (model, params, config)
  first = next(iter(workdirs))
  for name, (*_, config) in loaded.items():
    here, there = _dataset(config), _dataset(loaded[first][2])
    if here != there:
      raise ValueError(
        f'{workdirs[name]} is of {here}, {workdirs[first]} of {there}; a '
        'figure shows models of the same data'
      )
  return loaded


def _dataset(config: ConfigDict) -> str:
  size = config.data.frame_size
  return f'{config.dataset}/{config.data.config} at {size}x{size}'


def draw(
  loaded: Loaded,
  context: Scene,
  views: np.ndarray,
  example_ids: Sequence[int],
  num_samples: int,
  seed: int,
) -> np.ndarray:
  """Samples of the views [B, T, V], clipped: [S, B, T, H, W, 3]."""
  model, params, _ = loaded
  frames = jax.jit(model.sample, static_argnums=5)(
    params,
    jax.random.key(seed),
    context,
    np.ones(context.views.shape[:2], bool),
    views,
    num_samples,
    np.array(example_ids, np.int32),
  )
  return np.clip(np.asarray(frames), 0, 1)


def rooms(
  loaded: Mapping[str, Loaded],
  split: str,
  indices: Sequence[int],
  num_samples: int,
  seed: int,
) -> list[RoomFigure]:
  """What figure 7 shows of these scenes, read by the judge."""
  config = next(iter(loaded.values()))[2]
  if config.data.protocol != 'hidden_side':
    raise ValueError(
      f'figure 7 shows rooms with a hidden side; these runs are of '
      f'{_dataset(config)}'
    )
  if config.data.config not in dice.STYLES:
    raise ValueError(
      f'figure 7 needs the cube and the digits of the simulator, which knows '
      f'{", ".join(dice.STYLES)} and not {config.data.config!r}'
    )
  style = dice.STYLES[config.data.config]
  videos = batches.scenes(config, split, indices)
  chosen = [batches.test_views(config, video) for video in videos]
  whole = batches.whole_scenes(config, split, indices)
  scene = np.arange(len(videos))[:, None]
  seen = scene, np.stack([views.context for views in chosen])
  asked = scene, np.stack([views.targets for views in chosen])
  context = Scene(whole.frames[seen], whole.views[seen])
  ids = [int(video.example_id) for video in videos]
  sides = np.array([views.side for views in chosen])
  cameras = whole.views[asked]
  samples = {
    name: draw(its, context, cameras, ids, num_samples, seed)
    for name, its in loaded.items()
  }
  renders = dice_judge.possible_digits(
    split,
    ids,
    cameras,
    sides,
    config.data.frame_size,
    sources.supersampling(config),
    style,
  )
  return [
    RoomFigure(
      context=context.frames[b],
      truth=whole.frames[asked][b],
      cameras=np.concatenate([context.views[b], cameras[b]]),
      cube=np.asarray(dice.sample(split, ids[b], style=style).cube),
      side=int(sides[b]),
      samples={name: its[:, b] for name, its in samples.items()},
      readings={
        name: _read(its[:, b], renders[b], style)
        for name, its in samples.items()
      },
      label=f'{split} scene {indices[b]}',
    )
    for b in range(len(ids))
  ]


def _read(
  samples: np.ndarray, renders: np.ndarray, style: dice.Style
) -> np.ndarray:
  """The digits [S, T], of all 100, that the judge reads; -1 for none."""
  names = dice_judge.name(samples, renders)
  return np.where(names.legible, np.array(style.digits)[names.digits], -1)


def continuations(
  loaded: Mapping[str, Loaded],
  split: str,
  indices: Sequence[int],
  context: Sequence[int],
  num_samples: int,
  seed: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Videos [B, N, H, W, 3] in [0, 1], and the same with hidden frames sampled.

  Returns:
    (truth, {model: [S, B, N, H, W, 3]}); context frames are the true ones.
  """
  config = next(iter(loaded.values()))[2]
  if config.data.protocol == 'hidden_side':
    raise ValueError(
      f'figures 3 and 4 show videos; these runs are of {_dataset(config)}'
    )
  frames, views = batches.whole_scenes(config, split, indices)
  seen = list(context)
  hidden = np.setdiff1d(np.arange(config.data.num_frames), seen)
  given = Scene(frames[:, seen], views[:, seen])
  ids = [int(v.example_id) for v in batches.scenes(config, split, indices)]
  truth = frames / 255.0
  filled = {}
  for name, its in loaded.items():
    drawn = draw(its, given, views[:, hidden], ids, num_samples, seed)
    whole = np.repeat(truth[None], num_samples, axis=0)
    whole[:, :, hidden] = drawn
    filled[name] = whole
  return truth, filled
