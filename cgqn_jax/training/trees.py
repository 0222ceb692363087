"""Trees of arrays: their size, and compared by the names of their leaves.

A name, such as params/encoder/kernel, stays the same when a tree of named
tuples comes back from a file as dicts and lists.
"""

from typing import Any
import zlib

import jax


def name(path: Any) -> str:
  """Writes JAX's key path of a leaf as its name."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def by_name(tree: Any) -> dict[str, Any]:
  """Returns the leaves of a tree under their names."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {name(path): leaf for path, leaf in leaves}


def size(tree: Any) -> int:
  """Returns the number of values in all leaves."""
  return sum(x.size for x in jax.tree.leaves(tree))


def checksum(tree: Any) -> int:
  """Returns the CRC-32 of all NumPy leaves, in the order of their names."""
  crc = 0
  for key, leaf in sorted(by_name(tree).items()):
    crc = zlib.crc32(leaf.tobytes(), zlib.crc32(key.encode(), crc))
  return crc


def differences(there: Any, here: Any) -> list[str]:
  """Says, a line a leaf, which shapes and dtypes differ between two trees."""
  old, new = (
    {k: f'{x.dtype}{list(x.shape)}' for k, x in by_name(tree).items()}
    for tree in (there, here)
  )
  return [
    f'{k} is {old.get(k, "absent")} there and {new.get(k, "absent")} here'
    for k in sorted(old | new)
    if old.get(k) != new.get(k)
  ]
