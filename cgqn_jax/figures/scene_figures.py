"""Figures of scenes and samples, with their captions.

Paper, figures 3, 4 and 7. Each function also returns what it drew.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from matplotlib.figure import Figure

from cgqn_jax.figures import samples as samples_lib
from cgqn_jax.figures import scenes, style
from cgqn_jax.figures.samples import Loaded
from cgqn_jax.figures.scenes import RoomFigure, Strip
from cgqn_jax.training.workdir import checkpoint_step

Workdirs = Mapping[str, pathlib.Path]
# Of figure 4: what is shown, and context and number of the sample of a panel,
# from 0.
_SHOWN = (0, 3, 6, 10)
_PANELS = (
  ('B', (0, 3), 0),
  ('C', (0, 3), 1),
  ('D', (6, 10), 0),
  ('E', (6, 10), 1),
  ('F', (3, 6), 0),
)


def continuations(
  loaded: Mapping[str, Loaded],
  workdirs: Workdirs,
  split: str,
  indices: Sequence[int],
  seed: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figure 3: F1 F6 | F11 F16 F21, and two samples of each model."""
  config = next(iter(loaded.values()))[2]
  context = list(config.data.get('test_context', ()))
  truth, samples = samples_lib.continuations(
    loaded, split, indices, context, 2, seed
  )
  start, last = max(context), config.data.num_frames - 1
  shown = [min(context), start]
  shown += [start + round((last - start) * part / 3) for part in (1, 2, 3)]
  seen = [frame in context for frame in shown]
  blocks = [
    [Strip('truth', truth[b, shown], seen)]
    + [
      Strip(f'{style.name(model)}, {s + 1}', frames[s, b, shown], seen)
      for model, frames in samples.items()
      for s in range(2)
    ]
    for b in range(len(indices))
  ]
  caption = _caption(config, workdirs, split, indices, seed)
  return _strips(blocks, shown, 2, caption, workdirs)


def reactions(
  loaded: Mapping[str, Loaded],
  workdirs: Workdirs,
  split: str,
  indices: Sequence[int],
  seed: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figure 4: one model forwards (B, C), backwards (D, E), both ways (F)."""
  ((name, its),) = loaded.items()
  config = its[2]
  if config.data.config != 'color_reaction':
    raise ValueError(
      f'it is of color_reaction, and {workdirs[name]} of {config.data.config}; '
      'give --cgqn=W, a workdir of narrative=color_reaction'
    )
  drawn = {}
  for context in dict.fromkeys(context for _, context, _ in _PANELS):
    truth, samples = samples_lib.continuations(
      loaded, split, indices, context, 2, seed
    )
    drawn[context] = samples[name]
  shown = list(_SHOWN)
  blocks = [
    [Strip('A   truth', truth[b, shown], [False] * len(shown))]
    + [
      Strip(
        f'{letter}   sees {" ".join(f"F{i + 1}" for i in context)}',
        drawn[context][sample, b, shown],
        [frame in context for frame in shown],
      )
      for letter, context, sample in _PANELS
    ]
    for b in range(len(indices))
  ]
  caption = _caption(config, workdirs, split, indices, seed)
  return _strips(blocks, shown, 0, caption, workdirs)


def rooms(
  shown: Sequence[RoomFigure],
  loaded: Mapping[str, Loaded],
  workdirs: Workdirs,
  seed: int,
) -> tuple[Figure, dict[str, Any]]:
  """Figure 7, of what `figure_samples.rooms` gave."""
  model, _, config = next(iter(loaded.values()))
  size = config.data.frame_size
  variance = float(model.pixel_variance(config.num_steps))
  caption = (
    f'Dice, {size}x{size}, pixel-variance {variance:.3g}. Blue: the cameras a '
    'to e of the context, which shows three sides of the cube. Red: the '
    'fourth side, and the queries 1 to 3 that show it. "reads": class of the '
    'digit that the simulator finds in views 1, 2 and 3, and a dash for none; '
    'green where all three show the same digit. '
    f'{_runs(workdirs, seed)}'
  )
  numbers = [
    {
      'scene': room.label,
      'cameras': room.cameras.tolist(),
      'cube': room.cube.tolist(),
      'hidden_side': room.side,
      'digits_read': {m: r.tolist() for m, r in room.readings.items()},
    }
    for room in shown
  ]
  its = {'caption': caption, 'runs': _paths(workdirs), 'scenes': numbers}
  return scenes.rooms(shown, caption), its


def _strips(
  blocks: Sequence[Sequence[Strip]],
  shown: Sequence[int],
  cut: int,
  caption: str,
  workdirs: Workdirs,
) -> tuple[Figure, dict[str, Any]]:
  columns = [f'F{frame + 1}' for frame in shown]
  rows = [strip.label for strip in blocks[0]]
  figure = scenes.strips(blocks, columns, cut, caption)
  its = {'caption': caption, 'runs': _paths(workdirs)}
  return figure, its | {'rows': rows, 'columns': columns}


def _caption(
  config: Any,
  workdirs: Workdirs,
  split: str,
  indices: Sequence[int],
  seed: int,
) -> str:
  size = config.data.frame_size
  title = config.data.config.replace('_', ' ').capitalize()
  text = (
    f'{title}, {size}x{size}, {split} scenes {", ".join(map(str, indices))}. '
    f'Blue: frames that the model sees. {_runs(workdirs, seed)}'
  )
  return text + (f' {style.FOOTNOTE}.' if 'cgqn_context' in workdirs else '')


def _runs(workdirs: Workdirs, seed: int) -> str:
  names = ', '.join(
    f'{style.name(model)} {path.name} at update {checkpoint_step(path):,}'
    for model, path in workdirs.items()
  )
  return (
    f'Runs: {names}, the least of validation loss; seed {seed} of the samples.'
  )


def _paths(workdirs: Workdirs) -> dict[str, str]:
  return {model: str(path) for model, path in workdirs.items()}
