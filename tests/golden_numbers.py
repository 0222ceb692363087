"""Losses and samples of networks as they were, for test_golden.py.

`fixtures/presets.json` holds the config of every config file and preset as of
version 0.1, when the paper's networks were the only ones and `model.networks`
was no field; `fixtures/configs` that of the recorded runs, those of a
comparison made from its command at its commit. They are never made again:
presets move on, these networks stay. Where a change of the numbers is meant,

  python -m tests.golden_numbers [NAME ...]

writes those of the named cases, or of all, to `fixtures/golden.json`: half an
hour of two cores, mostly compiling.
"""

from collections.abc import Mapping
import json
import pathlib
import sys
import tempfile
from typing import Any
import zlib

import jax
from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.files import replace_text
from cgqn_jax.models.build import Model, build
from cgqn_jax.training.checkpoints import leaf_name
from cgqn_jax.training.workdir import load, read_workdir
from cgqn_jax.types import Batch, Params, Scene

FIXTURES = pathlib.Path(__file__).parent / 'fixtures'
SHIPPED = 'traveling_salesman_0_1'  # the checkpoint that 0.1 shipped

# Shares of a run: SV2P charges half of its KL in the second, and sSSM a third
# in the first, where true frames are still fed.
_SHARES = (0.05, 0.55)
_SCENES, _TARGETS, _SAMPLES = 2, 3, 2


def read(name: str) -> dict[str, Any]:
  """A JSON of the fixtures."""
  return json.loads((FIXTURES / name).read_text('utf-8'))


def make_config(fields: Mapping[str, Any]) -> ConfigDict:
  """The config that a folder with this config.json is read as.

  By the way that old folders are read, which adds what their configs lack.
  """
  with tempfile.TemporaryDirectory() as folder:
    text = json.dumps(fields)
    (pathlib.Path(folder) / 'config.json').write_text(text, 'utf-8')
    return read_workdir(folder)


def numbers(model: Model, params: Params, config: ConfigDict) -> dict[str, Any]:
  """`loss`, `kl` and `mse` in two updates of a run, and of some samples.

  Of the samples `mean`, `deviation` and a few `pixels`.
  """
  batch, loss = make_batch(config), jax.jit(model.loss)
  found = {'loss': [], 'kl': [], 'mse': []}
  for share in _SHARES:
    step = np.int32(share * config.num_steps)
    value, metrics = loss(params, jax.random.key(1), batch, step)
    found['loss'].append(float(value))
    found['kl'].append(float(metrics['kl']))
    found['mse'].append(float(metrics['mse']))
  frames = jax.jit(model.sample, static_argnums=5)(
    params,
    jax.random.key(2),
    batch.context,
    batch.context_mask,
    batch.target.views[:, -_TARGETS:],
    _SAMPLES,
  )
  frames = np.asarray(frames, np.float64)
  middle = frames.shape[-2] // 2
  # Of the last scene, which is the ragged one: near the corner and in the
  # middle, of every sample and target.
  pixels = frames[:, -1, :, [0, middle], [1, middle], :]
  return found | {
    'mean': frames.mean(),
    'deviation': frames.std(),
    'pixels': pixels.ravel().tolist(),
  }


def norm(params: Params) -> float:
  """Takes all parameters as one vector."""
  leaves = jax.tree.leaves(jax.device_get(params))
  return float(np.sqrt(sum(np.sum(np.float64(x) ** 2) for x in leaves)))


def make_params(model: Model) -> Params:
  """Normal parameters, of a leaf's name and shape alone, biases too.

  A layer's output is about as large as its input.
  """

  def draw(path: Any, x: jax.ShapeDtypeStruct) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(leaf_name(path).encode()))
    scale = np.sqrt(1 / np.prod(x.shape[:-1])) if x.shape[1:] else 0.3
    return (scale * rng.standard_normal(x.shape)).astype(x.dtype)

  shapes = jax.eval_shape(model.init, jax.random.key(0))
  return jax.tree_util.tree_map_with_path(draw, shapes)


def make_batch(config: ConfigDict) -> Batch:
  """Scenes of noise as the config's protocol has them; the second is ragged.

  Sequential models get whole videos, so theirs is not.
  """
  data, rng = config.data, np.random.default_rng(0)
  video = data.protocol == 'sequence'
  targets = data.num_targets if video else _TARGETS
  scenes, context = _SCENES, data.max_context
  count, size = context + targets, data.frame_size
  shape = (scenes, count, size, size, 3)
  frames = rng.integers(0, 256, shape, dtype=np.uint8)
  views = rng.random((scenes, count, data.view_size), dtype=np.float32)
  if video:
    views[:] = np.linspace(0, 1, count, dtype=np.float32)[:, None]
  context_mask = np.ones((scenes, context), bool)
  target_mask = np.ones((scenes, targets), bool)
  if not video:
    context_mask[1, context // 2 :] = target_mask[1, -1] = False
  return Batch(
    context=Scene(frames[:, :context], views[:, :context]),
    context_mask=context_mask,
    target=Scene(frames[:, context:], views[:, context:]),
    target_mask=target_mask,
    weight=np.ones(scenes, np.float32),
    example_id=np.arange(scenes, dtype=np.int32) + 100,
  )


def case(name: str) -> dict[str, Any]:
  """What the golden file keeps of a preset, or of the shipped checkpoint."""
  if name == SHIPPED:
    model, params, config = load(FIXTURES / SHIPPED)
    return numbers(model, params, config) | {'norm': norm(params)}
  config = make_config(read('presets.json')[name])
  model = build(config)
  fresh = norm(model.init(jax.random.key(0)))
  # Not of fresh ones: those draw black frames.
  return numbers(model, make_params(model), config) | {'norm': fresh}


def main(names: list[str]) -> None:
  """Writes the numbers of these cases, of all where none is named."""
  golden = read('golden.json')
  for name in names or list(golden):
    golden[name] = _rounded(case(name))
    print(name, golden[name], flush=True)
    lines = [f'"{key}": {json.dumps(its)}' for key, its in golden.items()]
    text = '{\n' + ',\n'.join(lines) + '\n}\n'
    replace_text(FIXTURES / 'golden.json', text)


def _rounded(value: Any) -> Any:
  """Eight digits: a float32 has no more."""
  if isinstance(value, dict):
    return {key: _rounded(its) for key, its in value.items()}
  if isinstance(value, list):
    return [_rounded(its) for its in value]
  return float(f'{value:.8g}')


if __name__ == '__main__':
  main(sys.argv[1:])
