"""What of a scene is context and what is target (paper, section 4).

config.data.protocol names one of PROTOCOLS:

* 'frames', of videos: some of the first frames are context, any are targets.
  Videos may be shorter than config.data.num_frames.
* 'sequence', of videos: the first frames, then all others, in order.
* 'hidden_side', of dice (section 4.2): one of the four sides of the cube is
  hidden. No context view shows a pixel of it, the targets do. What is on it can
  only be sampled, and must then be the same in all targets. A share of training
  (config.data.any_context_share) hides nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.data.examples import Example

SIDES = 4  # of the six faces, those that are neither top nor bottom
# The tables: five views that show the other sides, three of the hidden one.
TEST_CONTEXT = 5
TEST_TARGETS = 3
# A view shows a side if it has this many pixels in it; of 64x64.
_SHOWN = 150


class Views(NamedTuple):
  """Indices of the context and target frames of a scene.

  hidden_side: of a die, 0 to 3; None where no side is hidden.
  """

  context: np.ndarray
  targets: np.ndarray
  hidden_side: int | None = None


class Protocol(NamedTuple):
  """One way to divide scenes into context and targets.

  task: what kind of scenes they are; `evaluation.tasks` has how each is judged.
  check: check(config) raises a ValueError for numbers that do not fit.
  fewest: fewest(config) is the least number of frames that a scene must have.
  for_training: for_training(config, example, rng) -> Views.
  for_tables: for_tables(config, example) -> Views, the same in every run.
  """

  task: str
  check: Callable[[ConfigDict], None]
  fewest: Callable[[ConfigDict], int]
  for_training: Callable[[ConfigDict, Example, np.random.Generator], Views]
  for_tables: Callable[[ConfigDict, Example], Views]


def for_config(config: ConfigDict) -> Protocol:
  """The protocol of a config; ValueError for one that there is not."""
  name = config.data.protocol
  if name not in PROTOCOLS:
    *others, last = map(repr, PROTOCOLS)
    raise ValueError(
      f'data.protocol is {name!r}; it must be {", ".join(others)} or {last}'
    )
  return PROTOCOLS[name]


def check(config: ConfigDict) -> None:
  """ValueError unless the numbers of context and target frames go together.

  Each of them alone: `fields.check`.
  """
  protocol, data = for_config(config), config.data
  if data.num_targets > data.num_frames:
    raise ValueError(
      f'data.num_targets is {data.num_targets}; it must be 1 to '
      f'{data.num_frames}, the frames of a scene'
    )
  protocol.check(config)


def outside_training(config: ConfigDict, context: Sequence[int]) -> str | None:
  """What to say of a context like none in training; None of one like those."""
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
  if usual:
    return None
  return (
    f'the model was trained on {trained}; this context of {size} is outside of '
    'that'
  )


def _check_frames(config: ConfigDict) -> None:
  data = config.data
  last = data.num_frames - 1
  for frame in data.test_context:
    if frame > last:
      raise ValueError(
        f'data.test_context has frame {frame}; the video has 0 to {last}'
      )
  if len(set(data.test_context)) != len(data.test_context):
    raise ValueError(
      f'data.test_context is {data.test_context}; it names a frame twice'
    )
  if len(data.test_context) > last:
    raise ValueError(
      f'data.test_context names all {data.num_frames} frames; leave some to '
      'predict'
    )
  if data.min_context > min(data.max_context, data.context_window):
    raise ValueError(
      f'data.min_context is {data.min_context}; it must be 0 to '
      f'{min(data.max_context, data.context_window)}, for data.max_context is '
      f'{data.max_context} and data.context_window {data.context_window}'
    )
  for field in ('max_context', 'context_window'):
    if data[field] > data.num_frames:
      raise ValueError(
        f'data.{field} is {data[field]}; the video has {data.num_frames} frames'
      )


def _check_sequence(config: ConfigDict) -> None:
  _check_frames(config)
  data = config.data
  first = data.max_context
  if not first:
    raise ValueError(
      "data.max_context is 0; data.protocol 'sequence' begins with a frame"
    )
  if tuple(data.test_context) != tuple(range(first)) or (
    first + data.num_targets != data.num_frames
  ):
    raise ValueError(
      f"data.protocol is 'sequence', with data.max_context {first}: "
      f'data.test_context is {tuple(data.test_context)} and must be the '
      f'frames 0 to {first - 1}; data.num_targets is {data.num_targets} and '
      f'must be {data.num_frames - first}, all others'
    )


def _check_sides(config: ConfigDict) -> None:
  data = config.data
  if config.dataset != 'dice' or data.source not in ('tfds', 'simulator'):
    raise ValueError(
      f"data.protocol is 'hidden_side', and {config.dataset} from "
      f'{data.source!r} does not say which sides a view shows; that is known '
      "of dice from 'tfds' or 'simulator': use data.protocol 'frames'"
    )
  if not 1 <= data.min_context <= data.max_context < data.num_frames:
    raise ValueError(
      f'data.min_context {data.min_context} and data.max_context '
      f'{data.max_context} must not decrease, from 1 to '
      f'{data.num_frames - 1}'
    )
  if data.min_targets > data.num_targets:
    raise ValueError(
      f'data.min_targets is {data.min_targets}; it must be 1 to '
      f'{data.num_targets}, which is data.num_targets'
    )


def _all(config: ConfigDict) -> int:
  return config.data.num_frames


def _enough(config: ConfigDict) -> int:
  """Frames for the contexts of training and tables, and targets of these."""
  data = config.data
  judged = len(data.test_context) + data.num_targets
  fewest = max(judged, data.min_context, *(i + 1 for i in data.test_context))
  return min(fewest, data.num_frames)


def _some_frames(
  config: ConfigDict, example: Example, rng: np.random.Generator
) -> Views:
  """Context from the first frames, or from any; targets from all."""
  data, count = config.data, len(example.views)
  if rng.random() < data.any_context_share:
    least, window = 0, count
  else:
    least, window = data.min_context, min(data.context_window, count)
  size = int(rng.integers(least, min(data.max_context, window) + 1))
  context = rng.permutation(window)[:size]
  return Views(context, rng.permutation(count)[: data.num_targets])


def _in_order(
  config: ConfigDict, example: Example, rng: np.random.Generator
) -> Views:
  del example, rng
  order, first = np.arange(config.data.num_frames), config.data.max_context
  return Views(order[:first], order[first:])


def _all_others(config: ConfigDict, example: Example) -> Views:
  """config.data.test_context, and all other frames in order."""
  context = np.array(config.data.test_context, int)
  return Views(context, np.setdiff1d(np.arange(len(example.views)), context))


def _a_side(
  config: ConfigDict, example: Example, rng: np.random.Generator
) -> Views:
  """A random side, contexts that never show it, a first target that does.

  Of data.min_targets to data.num_targets targets, those after the first are any
  views. A share of the scenes hides no side: contexts and targets are any.
  """
  data = config.data
  least, most = data.min_context, data.max_context
  few, many = data.min_targets, data.num_targets
  share = data.any_context_share
  if share and rng.random() < share:
    order = rng.permutation(len(example.face_pixels))
    size, count = rng.integers((least, few), (most + 1, many + 1))
    return Views(order[:size], order[size : size + count])
  shown, absent = _sides(config, example)
  side = _hidden(rng, shown.any(0) & (absent.sum(0) >= least))
  unseen = rng.permutation(np.flatnonzero(absent[:, side]))
  size = rng.integers(least, min(most, len(unseen)) + 1)
  first = rng.choice(np.flatnonzero(shown[:, side]))
  others = np.setdiff1d(np.arange(len(shown)), [first])
  count = rng.integers(few - 1, many)
  targets = np.append(first, rng.permutation(others)[:count])
  return Views(unseen[:size], targets, side)


def _the_side(config: ConfigDict, example: Example) -> Views:
  """A side that follows from the example alone, as its views do.

  The context shows each of the other three sides in one of its five views at
  least; the three targets all show the hidden one.
  """
  rng = np.random.default_rng(example.example_id)
  shown, absent = _sides(config, example)
  possible = shown.sum(0) >= TEST_TARGETS
  possible &= absent.sum(0) >= TEST_CONTEXT
  for side in range(SIDES):
    seen = shown[absent[:, side]].any(0)
    possible[side] &= np.delete(seen, side).all()
  side = _hidden(rng, possible)
  unseen = rng.permutation(np.flatnonzero(absent[:, side]))
  # The first view that shows it well, for each of the others.
  needed = {
    int(unseen[np.argmax(shown[unseen, other])])
    for other in range(SIDES)
    if other != side
  }
  rest = [view for view in unseen if view not in needed]
  context = sorted(needed) + rest[: TEST_CONTEXT - len(needed)]
  targets = rng.permutation(np.flatnonzero(shown[:, side]))[:TEST_TARGETS]
  return Views(np.array(context, int), targets, side)


def _sides(
  config: ConfigDict, example: Example
) -> tuple[np.ndarray, np.ndarray]:
  """Which views show a side well, and which nothing of it: [N, 4] each."""
  pixels = example.face_pixels[:, :SIDES]
  return pixels >= _SHOWN * (config.data.frame_size / 64) ** 2, pixels == 0


def _hidden(rng: np.random.Generator, possible: np.ndarray) -> int:
  """One of the possible sides; ValueError where there is none."""
  if not possible.any():
    raise ValueError(
      'no side of the cube in this scene can be hidden: the views must show '
      'one that enough others do not'
    )
  return int(rng.choice(np.flatnonzero(possible)))


PROTOCOLS = {
  'frames': Protocol(
    task='videos',
    check=_check_frames,
    fewest=_enough,
    for_training=_some_frames,
    for_tables=_all_others,
  ),
  'sequence': Protocol(
    task='videos',
    check=_check_sequence,
    fewest=_all,
    for_training=_in_order,
    for_tables=_all_others,
  ),
  'hidden_side': Protocol(
    task='dice',
    check=_check_sides,
    fewest=_all,
    for_training=_a_side,
    for_tables=_the_side,
  ),
}
