"""The random numbers of the simulators, and the order they are drawn in.

They are raw Philox words, which NumPy freezes (its distributions and
`jax.random` may change between versions), so that example `i` of a split can
be made alone, on any machine, at any time:

  Philox(key=[0, 16 * stream + split], counter=[0, 0, 0, i]).random_raw()

Streams: 0 traveling_salesman, 1 color_reaction, 2 dag_chase, 3 color_relay,
4 shell_shuffle, 5 plinko, 6 greedy_salesman, 8 dice. Splits: 0 train,
1 validation, 2 test. Variants of a data set that differ in frame size or in
number of examples share the stream. Ids may run past the stored set.

From each word w the uniform u = (w >> 11) / 2^53; `below(k)` = floor(u k);
a permutation is Fisher-Yates from the end, one word for each but the first
entry. The order of the draws, which must never change:

  attributes  shape by shape: kind below(4), size below(4), color below(12)
  placement   shape by shape: x, y, again until it fits; after 200 tries the
              whole layout begins again
  traveling_salesman   attributes, placement, permutation(4)
  greedy_salesman      attributes, placement
  color_reaction       attributes, placement (again until far enough), then
                       below(11) among the other colors
  dag_chase            attributes, placement, permutation(4), one parent
                       below(j) for j = 1, 2, 3, then two way-points, each x, y
                       until the leg's length fits
  color_relay          attributes, placement, permutation(3), one of the
                       colors that no shape has
  shell_shuffle        shape by shape: kind below(4), size below(3), one of
                       the colors left; mirrored below(2); permutation(3)
  plinko               kind of the ball below(4), its color below(12), the
                       board's color below(11) among the others, center
                       uniform, spacing uniform, quarter turns below(4), then
                       four times left or right below(2)
  dice                 six digits below(100), or as many as there are; cube x,
                       y, yaw; light x, y, z; wall, then floor: kind below(7),
                       frequency below(3); wall, then floor: color 1 as hue,
                       saturation, value, whether color 2 is independent, its
                       factor, its hue, saturation, value; ceiling, then cube:
                       hue, saturation, value; wall, then floor: for each of 24
                       waves of noise its angle and its phase; the views: first
                       angle, one offset each, permutation(views)
"""

from collections.abc import Sequence
import operator

import numpy as np

SPLITS = ('train', 'validation', 'test')
SEED = 0
_WORDS = 64  # read at a time; one read serves most examples


class Draws:
  """The words of one example, in order.

  Args:
    stream: the simulator's number, 0 to 15.
    split: one of `SPLITS`.
    example_id: 0 or more, below 2**63; it may lie past the stored data set.

  Raises:
    ValueError: if the split or the id is not one of these.
  """

  def __init__(self, stream: int, split: str, example_id: int):
    if split not in SPLITS:
      raise ValueError(f'split is {split!r}; it must be one of {SPLITS}.')
    example_id = operator.index(example_id)
    if not 0 <= example_id < 2**63:
      raise ValueError(
        f'example_id is {example_id}; it must be 0 to 2**63 - 1.'
      )
    key = np.array([SEED, 16 * stream + SPLITS.index(split)], np.uint64)
    counter = np.array([0, 0, 0, example_id], np.uint64)
    self._philox = np.random.Philox(key=key, counter=counter)
    self._uniforms = []

  def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
    """A float of [low, high)."""
    if not self._uniforms:
      words = self._philox.random_raw(_WORDS)
      self._uniforms = ((words >> np.uint64(11)) * 2.0**-53).tolist()[::-1]
    return low + (high - low) * self._uniforms.pop()

  def below(self, count: int) -> int:
    """An integer of 0 .. count - 1."""
    return min(int(self.uniform() * count), count - 1)

  def choice(self, items: Sequence[int]) -> int:
    """One of the items."""
    return items[self.below(len(items))]

  def permutation(self, count: int) -> list[int]:
    """The integers 0 .. count - 1 in a random order."""
    items = list(range(count))
    for last in range(count - 1, 0, -1):
      other = self.below(last + 1)
      items[last], items[other] = items[other], items[last]
    return items
