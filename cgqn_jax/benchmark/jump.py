"""What it takes to reach frame t: seconds and FLOPs (paper, section 4.1).

CGQN and GQN render any frame directly; sSSM, SV2P and CDNA must pass through
all frames before it, of which sSSM decodes only those asked for. Parameters are
fresh and frames are noise: time depends on shapes alone, not on what a model
has learnt. So t may lie beyond the videos of training; there CGQN is asked for
a timestamp above 1, and the sequential models roll on.
"""

from collections.abc import Mapping, Sequence
import functools
import pathlib
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
import numpy as np
import optax
from scipy import stats
import tqdm

from cgqn_jax.benchmark import timing
from cgqn_jax.benchmark.flops import count_flops
from cgqn_jax.files import read_jsonl
from cgqn_jax.models.build import JUMPY, Model, build, counted
from cgqn_jax.models.sequential import Sequential
from cgqn_jax.types import Array, Params, Scene

CONTEXT = 6  # frames 0 .. 5, as in figure 3
# Frame t alone, or all frames from the context to t.
MODES = ('one', 'all')

Rows = Sequence[Mapping[str, Any]]


def measure(
  configs: Mapping[str, ConfigDict],
  frames: Sequence[int],
  *,
  batch_size: int = 1,
  num_samples: int = 1,
  repeats: int = 20,
) -> list[dict[str, Any]]:
  """Seconds and FLOPs of every model, frame and mode, a row each.

  Args:
    configs: of the runs that are compared, by name.
    frames: t, each from CONTEXT on.
    batch_size: scenes at once.
    num_samples: of each scene.
    repeats: timings of each, in as many rounds over all of them.

  Returns:
    Rows with `seconds` (the median), `first_quartile`, `third_quartile`,
    `timings` (in the order of the rounds), `flops` of the call as
    `count_flops` counts, every convolution counted as one, and what was
    measured, where and when.
  """
  check(configs, frames)
  calls, rows = [], []
  total = len(configs) * len(frames) * len(MODES)
  bar = tqdm.tqdm(total=total, desc='compiled', unit=' calls')
  for name, config in configs.items():
    model = build(config)
    params = model.init(jax.random.key(0))
    for frame in frames:
      reached = reaching(model, frame)
      for mode in MODES:
        arguments = jax.device_put(
          (params, *inputs(config, frame, mode, batch_size))
        )
        call = functools.partial(_sample, reached, num_samples, *arguments)
        timing.warm_up(call)
        calls.append(call)
        rows.append(
          {
            'model': name,
            'frame': frame,
            'mode': mode,
            'frames': arguments[-1].shape[1],
            'preset': config.preset,
            'frame_size': config.data.frame_size,
            'trained_frames': config.data.num_frames,
            'parameters': optax.tree.size(params),
            'flops': flops(reached, num_samples, *arguments),
          }
        )
        bar.update()
  bar.close()
  common = {
    'context': CONTEXT,
    'batch_size': batch_size,
    'num_samples': num_samples,
    'repeats': repeats,
    **timing.circumstances(),
  }
  for row, timings in zip(
    rows, timing.interleaved(calls, repeats), strict=True
  ):
    low, median, high = np.quantile(timings, (0.25, 0.5, 0.75)).tolist()
    row |= {'seconds': median, 'first_quartile': low, 'third_quartile': high}
    row |= {'timings': timings} | common
  return rows


def check(configs: Mapping[str, ConfigDict], frames: Sequence[int]) -> None:
  """ValueError for what cannot be measured."""
  if len(set(frames)) < max(2, len(frames)) or min(frames) < CONTEXT:
    raise ValueError(
      f'the frames are {", ".join(map(str, frames))}; give at least two, each '
      f'once, from {CONTEXT} on, the first after the context'
    )
  for name, config in configs.items():
    if config.data.view_size != 1:
      raise ValueError(
        f'{name} is of {config.dataset}, whose views are no timestamps; only '
        'videos have a frame t to jump to'
      )


def reaching(model: Model, frame: int) -> Model:
  """The model for videos that end at `frame`, with the same parameters.

  A sequential model draws the noise of all frames of its videos; so it draws
  none for frames that are not reached, and can go beyond those of training.
  """
  if not isinstance(model, Sequential):
    return model
  networks = model.networks.clone(num_frames=frame + 1)
  return Sequential(networks, model.pixel_variance)


def inputs(
  config: ConfigDict, frame: int, mode: str, batch_size: int
) -> tuple[Array, Scene, np.ndarray, np.ndarray]:
  """What `sample` takes after the parameters: key, context, mask, queries."""
  # The sequential models know a frame by its number in the video that ends at
  # `frame`, CGQN and GQN by its time in those of training.
  jumpy = config.model.name in JUMPY
  last = config.data.num_frames - 1 if jumpy else frame
  first = frame if mode == 'one' else CONTEXT
  size = config.data.frame_size
  rng = np.random.default_rng(0)
  shape = (batch_size, CONTEXT, size, size, 3)
  frames = rng.integers(0, 256, shape, np.uint8)

  def views(start: int, stop: int) -> np.ndarray:
    times = (np.arange(start, stop) / last).astype(np.float32)
    return np.tile(times[None, :, None], (batch_size, 1, 1))

  context = Scene(frames, views(0, CONTEXT))
  mask = np.ones((batch_size, CONTEXT), bool)
  return jax.random.key(0), context, mask, views(first, frame + 1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(
  model: Model, num_samples: int, params: Params, *arguments: Any
) -> Array:
  """CGQN and GQN compile once: the frame index is an ordinary input."""
  return model.sample(params, *arguments, num_samples=num_samples)


def flops(model: Model, num_samples: int, *arguments: Any) -> int:
  """Operations of one call of `model.sample`."""
  sample = functools.partial(counted(model).sample, num_samples=num_samples)
  return count_flops(sample, *arguments)


def load(path: str | pathlib.Path) -> list[dict[str, Any]]:
  """Reads what `measure` gave; ValueError, one line, where there is none."""
  fields = ('model', 'frame', 'mode', 'seconds', 'timings', 'flops')
  rows = read_jsonl(pathlib.Path(path), fields)
  if not rows:
    raise ValueError(f'{path} holds no rows; experiments/jump.py writes them')
  return rows


class Spread(NamedTuple):
  """A median over rounds, and its interval of 95 %, or None if unknown."""

  median: float
  interval: tuple[float, float] | None

  def text(self, form: str, scale: float = 1.0) -> str:
    """As '0.31 [0.28, 0.35]'."""
    values = (self.median, *(self.interval or ()))
    median, *ends = (f'{scale * value:{form}}' for value in values)
    return f'{median} [{", ".join(ends)}]' if ends else median


class Fit(NamedTuple):
  """How a model's cost depends on t.

  slope: of the least squares line, in seconds per further frame.
  ratio: of the time at the last t to that at the first.
  growth: of the same line through the FLOPs.
  """

  slope: Spread
  ratio: Spread
  growth: float

  @property
  def verdict(self) -> str:
    """'flat' says that no slope is shown, not that there is none."""
    if self.slope.interval is None:
      return 'too few timings'
    low, high = self.slope.interval
    return 'grows' if low > 0 else 'shrinks' if high < 0 else 'flat'


def fit(rows: Rows) -> Fit:
  """How the cost of a model's rows, of one mode and in order, depends on t."""
  frames = np.array([row['frame'] for row in rows], float)
  timings = np.array([row['timings'] for row in rows])
  flops = np.array([row['flops'] for row in rows], float)
  return Fit(
    spread(_slope(frames, timings)),
    spread(timings[-1] / timings[0]),
    float(_slope(frames, flops)),
  )


def spread(values: np.ndarray) -> Spread:
  """The median of values [R] over rounds, and its 95 % interval.

  The interval is that of the sign test: true whatever the distribution of the
  noise. Fewer than 6 values have none.
  """
  test = stats.quantile_test(values, p=0.5)
  low, high = test.confidence_interval(0.95)
  interval = None if np.isnan(low + high) else (float(low), float(high))
  return Spread(float(np.median(values)), interval)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Slopes [...] of the least squares lines through x [T] and y [T, ...]."""
  centred = x - x.mean()
  return np.tensordot(centred, y, 1) / (centred @ centred)


def groups(rows: Rows, mode: str) -> dict[str, list[Mapping[str, Any]]]:
  """The rows of a mode by model, each by t."""
  found: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    if row['mode'] == mode:
      found.setdefault(row['model'], []).append(row)
  for group in found.values():
    group.sort(key=lambda row: row['frame'])
  return found
