"""The environment of the programs that are killed."""

import os
import pathlib

import pytest


@pytest.fixture(scope='session')
def env(tmp_path_factory) -> dict[str, str]:
  """One device, the package of this checkout, and a cache of compilations.

  A cache of their own: a program killed in its write must not spoil others'.
  """
  return os.environ | {
    'PYTHONPATH': str(pathlib.Path(__file__).parents[2]),
    'JAX_PLATFORMS': 'cpu',
    'JAX_COMPILATION_CACHE_DIR': str(tmp_path_factory.mktemp('cache')),
  }
