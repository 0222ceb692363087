"""What the tests of the builders share: programs, and what they built."""

from collections.abc import Mapping
import os
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow_datasets as tfds

DATASETS = pathlib.Path(__file__).resolve().parents[2] / 'datasets'

with tfds.core.utils.add_sys_path(DATASETS):
  Narratives, Dice = (
    tfds.core.community.builder_cls_from_module(
      f'{name}.{name}_dataset_builder'
    )
    for name in ('narratives', 'dice')
  )


def run(
  *command: str | pathlib.Path, xla_flags: str | None = None
) -> subprocess.CompletedProcess:
  """Runs Python with this checkout's packages at hand.

  xla_flags: instead of the tests' own.
  """
  paths = [DATASETS.parent, os.environ.get('PYTHONPATH', '')]
  env = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, paths))}
  if xla_flags is not None:
    env['XLA_FLAGS'] = xla_flags
  return subprocess.run(
    [sys.executable, *map(str, command)],
    capture_output=True,
    text=True,
    timeout=300,
    env=env,
  )


def rows(directory: pathlib.Path, split: str) -> list[dict[str, np.ndarray]]:
  """All examples of a split, in order."""
  builder = tfds.builder_from_directory(directory)
  return list(builder.as_data_source(split))


def assert_same(
  ours: pathlib.Path, theirs: pathlib.Path, sizes: Mapping[str, int]
) -> None:
  """Files, features and every value of every example, as many as `sizes`."""
  assert sorted(p.name for p in theirs.iterdir()) == sorted(
    p.name for p in ours.iterdir()
  )
  for name in 'features.json', '../../.config/metadata.json':
    assert (theirs / name).read_text() == (ours / name).read_text()
  for split, size in sizes.items():
    examples = rows(ours, split)
    assert len(examples) == size
    for a, b in zip(examples, rows(theirs, split), strict=True):
      assert a.keys() == b.keys()
      for name in a:
        np.testing.assert_array_equal(a[name], b[name])
