"""How few rooms are divided: nothing that is held out is learned."""

import collections

import numpy as np
import pytest

from cgqn_jax.data import importing, rooms
from cgqn_jax.data.videos import Shape
from tests.data import posed_files


def by_split(parts: list[rooms.Part], room: str) -> dict[str, list]:
  found = collections.defaultdict(list)
  for part in parts:
    if part.room == room:
      found[part.split].append(part.chosen)
  return found


@pytest.mark.parametrize(
  ('counts', 'held'),
  [({'a': 10}, 1), ({'a': 40}, 4), ({'b': 300, 'a': 45}, 4), ({'a': 900}, 20)],
)
def test_held_out_photographs_are_in_no_scene_of_training(counts, held):
  parts = rooms.divided(counts)
  assert {len(part.chosen) for part in parts} == {rooms.SEEN + held}
  for name, count in counts.items():
    found = by_split(parts, name)
    every = {k: np.concatenate(v) for k, v in found.items()}
    for chosen in sum(found.values(), []):
      assert len(set(chosen)) == len(chosen)
      assert 0 <= min(chosen) and max(chosen) < count
    last = {
      split: {tuple(x[rooms.SEEN :]) for x in found[split]}
      for split in ('validation', 'test')
    }
    assert all(len(x) == 1 for x in last.values())
    (validation,), (test,) = last.values()
    train = set(every['train'])
    assert not set(validation) & set(test)
    assert not train & {*validation, *test}
    # All others are learned, each about as often as any.
    assert len(train) == count - 2 * held
    uses = np.bincount(every['train'])[sorted(train)]
    assert uses.min() >= 1 and uses.max() <= 3 * uses.mean()
    for split in ('validation', 'test'):
      contexts = [frozenset(x[: rooms.SEEN]) for x in found[split]]
      assert set().union(*contexts) <= train
      assert count == 10 or len(set(contexts)) == len(contexts) == 4
  assert sum(part.split == 'train' for part in parts) >= 64


def test_the_same_rooms_are_divided_alike():
  for one, other in zip(
    rooms.divided({'a': 40, 'b': 50}),
    rooms.divided({'a': 40, 'b': 50}),
    strict=True,
  ):
    assert one[:2] == other[:2] and np.array_equal(one.chosen, other.chosen)
  assert not np.array_equal(rooms.mixed('a', 40), rooms.mixed('b', 40))
  assert sorted(rooms.mixed('a', 40)) == list(range(40))


def test_too_few():
  with pytest.raises(ValueError, match='a has 9 photographs; .* must have 10'):
    rooms.divided({'b': 40, 'a': 9})


@pytest.mark.parametrize('count', [9, 10])
def test_from_ten_rooms_on_whole_rooms_are_held_out(tmp_path, count):
  """Their pictures come in an order of no meaning, each with its pose."""
  for n in range(count):
    folder = tmp_path / 'rooms' / f'r{n}'
    frames = np.full((12, 8, 8, 3), 20 * np.arange(12)[:, None, None, None])
    names = posed_files.write_pictures(folder, frames.astype(np.uint8))
    rows = [f'{name},{i},{n},0,0,0' for i, name in enumerate(names)]
    text = '\n'.join(['image,x,y,z,yaw,pitch', *rows])
    (folder / 'poses.csv').write_text(text)
  found = importing.write(
    tmp_path / 'rooms', tmp_path / 'out', Shape(8), 32, min_frames=4
  )
  sizes, kind = found.dataset.scenes, found.dataset.split_by
  if count < rooms.FEW:
    assert sizes == {'train': 72, 'validation': 36, 'test': 36}
    assert kind == 'photographs'
    return
  assert sum(sizes.values()) == 10 and min(sizes.values()) > 0
  assert kind == 'hash'
  orders = set()
  for scene in found.scenes:
    with np.load(scene.file) as arrays:
      order = arrays['views'][:, 0]
      np.testing.assert_array_equal(arrays['frames'][:, 0, 0, 0], 20 * order)
      assert len(set(arrays['views'][:, 1])) == 1
    assert sorted(order) == list(range(12))
    orders.add(tuple(order))
  assert len(orders) == 10
