"""Strict JAX on four CPU devices, and no data outside the tests' own folder."""

import atexit
import os
import pathlib
import shutil
import tempfile

import jax

# TFDS reads its folder when it is imported, hence not a fixture.
_DATA = tempfile.mkdtemp(prefix='cgqn_jax_tests_')
atexit.register(shutil.rmtree, _DATA, ignore_errors=True)
os.environ['TFDS_DATA_DIR'] = _DATA

_CACHE = pathlib.Path(__file__).parents[1] / '.cache' / 'jax'

jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))
jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_compilation_cache_dir', str(_CACHE))
# Shorter compilations cost less than the file would.
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
