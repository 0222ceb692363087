"""Strict JAX on four CPU devices, no data outside the tests' own folder.

And what many tests share: a CGQN of a few thousand parameters at 16x16.
"""

import atexit
from collections.abc import Callable
import mmap
import os
import pathlib
import shutil
import signal
import tempfile
from typing import Any

import jax
import jaxlib
from ml_collections import ConfigDict
import numpy as np
import pytest

# A shell that starts the tests in the background has Ctrl-C ignored, in all
# that they start too; some tests send one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# TFDS reads its folder when it is imported, hence not a fixture.
_DATA = tempfile.mkdtemp(prefix='cgqn_jax_tests_')
atexit.register(shutil.rmtree, _DATA, ignore_errors=True)
os.environ['TFDS_DATA_DIR'] = _DATA

_CACHE = pathlib.Path(__file__).parents[1] / '.cache' / 'jax'


def _flags() -> str:
  """XLA's flags for compiling fast, which is most of the time of the tests.

  A third of it without LLVM's optimisations, and a third of that by XLA's
  older way of fusing. XLA ends a process that names a flag it does not know,
  and versions differ, so the second is looked for in the library.
  """
  flags = '--xla_backend_optimization_level=0'
  older = 'xla_cpu_use_fusion_emitters'
  for library in pathlib.Path(jaxlib.__file__).parent.glob('libjax*.so'):
    with library.open('rb') as file:
      content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
      if content.find(older.encode()) >= 0:
        return f'{flags} --{older}=false'
  return flags


# Programs that the tests start inherit these.
os.environ.setdefault('XLA_FLAGS', _flags())
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')

jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_compilation_cache_dir', str(_CACHE))
# Shorter compilations cost less than the file would.
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)

from cgqn_jax import config as config_lib  # noqa: E402
from cgqn_jax.data import batches  # noqa: E402
from cgqn_jax.data.sources import open_source  # noqa: E402
from cgqn_jax.models.build import CGQN, JUMPY, build  # noqa: E402
from cgqn_jax.training import update as update_lib  # noqa: E402
from cgqn_jax.training.update import AXIS, TrainState  # noqa: E402
from cgqn_jax.types import Batch, Scene  # noqa: E402
from configs import dice, narratives  # noqa: E402

_LONG = {'crash', 'experiments'}  # folders of files that take a minute each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Puts the longest files first, so that processes end at the same time."""
  items.sort(key=lambda item: item.path.parent.name not in _LONG)


_TINY = {
  'draw_steps': 2,
  'nf_to_hidden': 4,
  'nf_enc': 5,
  'nf_to_obs': 4,
  'nf_dec': 5,
  'nf_z': 2,
  'kernel': 3,
  'encoder_widths': (4, 5, 6, 6),
}
_TINY_RESIDUAL = {
  'width': 8,
  'representation': 8,
  'encoder_blocks': 1,
  'renderer_blocks': 1,
  'latent_steps': 2,
  'map_latent': 2,
  'vector_latent': 3,
  'rotated': True,
  'codes': 4,
  'fine': 4,
  'bfloat16': False,
}


def _tiny(config: ConfigDict, model: dict[str, Any]) -> ConfigDict:
  """Shrinks a smoke config to simulated 16x16 frames and a tiny model."""
  config.num_steps = 20
  config.batch_size = 4
  config.data.source = 'simulator'
  config.data.frame_size = 16
  if config.model.get('networks') == 'residual':
    _tiny_residual(config)
  elif config.model.name in JUMPY:
    config.model.update(_TINY)
  config.model.update(model)
  return config


def _tiny_residual(config: ConfigDict) -> None:
  """All targets rendered, and schedules that no preset can change."""
  config.model.update(_TINY_RESIDUAL)
  config.num_rendered = 0
  levels = config_lib.levels
  config.kl_weight = levels((0, 0.25), (0.2, 1.0), 'linear')
  config.pixel_variance = levels((0, 0.25), (2.0, 0.5), 'linear')


@pytest.fixture(scope='session')
def make_config() -> Callable[..., ConfigDict]:
  """Makes the smoke config with a tiny model on simulated 16x16 frames."""

  def make(arg: str = '', **model: Any) -> ConfigDict:
    return _tiny(narratives.get_config(f'preset=smoke,{arg}'), model)

  return make


@pytest.fixture(scope='session')
def make_dice_config() -> Callable[..., ConfigDict]:
  """The same of dice."""

  def make(arg: str = '', **model: Any) -> ConfigDict:
    return _tiny(dice.get_config(f'preset=smoke,{arg}'), model)

  return make


@pytest.fixture(scope='session')
def make_params() -> Callable[[Any], Any]:
  """Makes parameters of a model, biases too, without compiling anything."""

  def make(model: Any) -> Any:
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))

    def draw(x: jax.ShapeDtypeStruct) -> np.ndarray:
      scale = np.sqrt(1 / np.prod(x.shape[:-1])) if x.shape[1:] else 0.3
      return (scale * rng.standard_normal(x.shape)).astype(x.dtype)

    return jax.tree.map(draw, shapes)

  return make


@pytest.fixture(scope='session')
def update_once(make_params: Callable) -> Callable[[ConfigDict], Any]:
  """Makes the first update of a config's training, by Adam; its metrics."""

  def run(config: ConfigDict) -> Any:
    config.optimizer.name = 'adam'
    config.learning_rate = config_lib.levels((0,), (1e-3,), 'constant')
    model = build(config)
    params = make_params(model)
    opt_state = update_lib.make_optimizer(config).init(params)
    state = TrainState(np.zeros((), np.int32), params, opt_state, params)
    batch = next(batches.training_batches(config, open_source(config, 'train')))
    update = jax.vmap(
      update_lib.make_update(model, config),
      axis_name=AXIS,
      in_axes=(None, 0),
      out_axes=(None, None),
    )
    state, metrics = jax.device_get(
      jax.jit(update)(state, jax.tree.map(lambda x: x[None], batch))
    )
    for old, new in zip(
      jax.tree.leaves(params), jax.tree.leaves(state.params), strict=True
    ):
      assert np.isfinite(new).all() and np.any(new != old)
    return metrics

  return run


@pytest.fixture(scope='session')
def make_batch() -> Callable[..., Batch]:
  """Makes scenes of noise, [B, C] contexts and [B, T] targets, no padding."""

  def make(
    scenes: int = 3, context: int = 4, targets: int = 3, seed: int = 0
  ) -> Batch:
    rng = np.random.default_rng(seed)

    def scene(views: int) -> Scene:
      frames = rng.integers(0, 256, (scenes, views, 16, 16, 3), dtype=np.uint8)
      times = rng.random((scenes, views, 1), dtype=np.float32)
      return Scene(frames, times)

    return Batch(
      context=scene(context),
      context_mask=np.ones((scenes, context), bool),
      target=scene(targets),
      target_mask=np.ones((scenes, targets), bool),
      weight=np.ones(scenes, np.float32),
      example_id=np.arange(scenes, dtype=np.int32) + 100,
    )

  return make


@pytest.fixture(scope='session')
def make_video(make_batch: Callable) -> Callable[..., Batch]:
  """Makes scenes whose frames are at consecutive times, contexts first."""

  def make(scenes: int, context: int, targets: int) -> Batch:
    batch = make_batch(scenes, context, targets)
    times = np.linspace(0, 1, context + targets, dtype=np.float32)
    times = np.tile(times[None, :, None], (scenes, 1, 1))
    return batch._replace(
      context=Scene(batch.context.frames, times[:, :context]),
      target=Scene(batch.target.frames, times[:, context:]),
    )

  return make


@pytest.fixture(scope='session')
def model(make_config: Callable) -> CGQN:
  return build(make_config())


@pytest.fixture(scope='session')
def params(model: CGQN, make_params: Callable) -> Any:
  return make_params(model)
