"""Samples of named scenes, as the figures show them.

Paper, figures 3, 4 and 7: several models asked the same about the same scenes.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import NamedTuple

import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.data import batches, protocols, sources
from cgqn_jax.data.protocols import Views
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation import dice_judge
from cgqn_jax.evaluation.sampling import draw_all
from cgqn_jax.models.build import Model
from cgqn_jax.simulators import dice
from cgqn_jax.training import workdir as workdir_lib
from cgqn_jax.types import Params

SPLIT = 'test'


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


class Loaded(NamedTuple):
  """A trained model, and the workdir that it is from."""

  model: Model
  params: Params
  config: ConfigDict
  workdir: pathlib.Path


def load(
  workdirs: Mapping[str, pathlib.Path], source: str | None
) -> dict[str, Loaded]:
  """Models by name, all of the same data; ValueError where they are not."""
  loaded = {}
  for name, workdir in workdirs.items():
    loaded[name] = Loaded(*workdir_lib.load(workdir), workdir)
    if source:
      loaded[name].config.data.source = source
  first, *others = loaded.values()
  for other in others:
    here, there = _dataset(other.config), _dataset(first.config)
    if here != there:
      raise ValueError(
        f'{other.workdir} is of {here}, {first.workdir} of {there}; a figure '
        'shows models of the same data'
      )
  return loaded


def _dataset(config: ConfigDict) -> str:
  size = config.data.frame_size
  return f'{sources.dataset_name(config)} at {size}x{size}'


def rooms(
  loaded: Mapping[str, Loaded],
  indices: Sequence[int],
  num_samples: int,
  seed: int,
) -> list[RoomFigure]:
  """What figure 7 shows of these scenes, read by the judge."""
  config = next(iter(loaded.values())).config
  if config.data.config not in dice.STYLES:
    raise ValueError(
      f'figure 7 needs the cube and the digits of the simulator, which knows '
      f'{", ".join(dice.STYLES)} and not {config.data.config!r}'
    )
  style = dice.STYLES[config.data.config]
  source, protocol = open_source(config, SPLIT), protocols.for_config(config)
  examples = batches.scenes(source, indices)
  batch = batches.make_batch(
    source,
    examples,
    [protocol.for_tables(config, example) for example in examples],
  )
  ids = batch.example_id.tolist()
  context, target, sides = batch.context, batch.target, batch.hidden_side
  samples = {
    name: draw_all(model, params, jax.random.key(seed), batch, num_samples)
    for name, (model, params, *_) in loaded.items()
  }
  renders = dice_judge.possible_digits(
    SPLIT,
    ids,
    target.views,
    sides,
    config.data.frame_size,
    sources.supersampling(config),
    style,
  )
  return [
    RoomFigure(
      context=context.frames[b],
      truth=target.frames[b],
      cameras=np.concatenate([context.views[b], target.views[b]]),
      cube=np.asarray(dice.sample(SPLIT, ids[b], style=style).cube),
      side=int(sides[b]),
      samples={name: drawn[:, b] for name, drawn in samples.items()},
      readings={
        name: _read(drawn[:, b], renders[b], style)
        for name, drawn in samples.items()
      },
      label=f'{SPLIT} scene {indices[b]}',
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
  indices: Sequence[int],
  context: Sequence[int],
  num_samples: int,
  seed: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Videos [B, N, H, W, 3] in [0, 1], and the same with hidden frames sampled.

  Returns:
    (truth, {model: [S, B, N, H, W, 3]}); context frames are the true ones.
  """
  config = next(iter(loaded.values())).config
  source = open_source(config, SPLIT)
  seen = np.array(context, int)
  hidden = np.setdiff1d(np.arange(config.data.num_frames), seen)
  batch = batches.make_batch(
    source,
    batches.scenes(source, indices),
    [Views(seen, hidden)] * len(indices),
  )
  truth = batches.whole_scenes(source, indices).frames / 255.0
  filled = {}
  for name, (model, params, *_) in loaded.items():
    key = jax.random.key(seed)
    filled[name] = np.repeat(truth[None], num_samples, axis=0)
    filled[name][:, :, hidden] = draw_all(
      model, params, key, batch, num_samples
    )
  return truth, filled
