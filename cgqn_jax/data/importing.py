"""One's own videos become a dataset: found, fitted, cut, divided, written.

The folder that comes of it is read by `FolderSource`; its dataset.json says
what training on it needs to know, see `Dataset`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import hashlib
import math
import os
import pathlib
import shutil
from typing import Any, NamedTuple

import numpy as np

from cgqn_jax import files, shipped
from cgqn_jax.data import cameras, rooms, videos
from cgqn_jax.data.examples import CAMERA, POSE
from cgqn_jax.data.folders import in_order
from cgqn_jax.data.videos import Shape, Video

DATASET = 'dataset.json'
SPLITS = ('train', 'validation', 'test')
_CALLED = {'val': 'validation', 'valid': 'validation'}  # by others
_SHARE = 0.1  # of validation, and of test
_TIME = 1  # number of a view


class Dataset(NamedTuple):
  """What dataset.json says.

  name: in results, by default the folder's.
  frame_size: H = W in pixels.
  num_frames: of the longest scene;  shortest: of the shortest.
  view_size: as data.view_size: 1, a timestamp, or 7, a camera.
  scenes: how many each split has.
  fit: of `videos.Shape`;  every: likewise.
  split_by: what divided the scenes: their 'folders', the 'hash' of their
    names, or 'both'; or 'photographs' were held out of each of few rooms.
  """

  name: str
  frame_size: int
  num_frames: int
  shortest: int
  view_size: int
  scenes: Mapping[str, int]
  fit: str
  every: int
  split_by: str


class Scene(NamedTuple):
  """One scene that was written.

  file: its NPZ.
  split: in which it is.
  source: the folder or file it is from.
  count: of its frames.
  original: width and height of its pictures before they were fitted.
  """

  file: pathlib.Path
  split: str
  source: pathlib.Path
  count: int
  original: tuple[int, int]


class Imported(NamedTuple):
  """What an import found.

  dataset: as its dataset.json.
  scenes: all of them.
  short: videos that were left out, as they have too few frames.
  others: files that are no videos.
  """

  dataset: Dataset
  scenes: Sequence[Scene]
  short: Sequence[str]
  others: Sequence[pathlib.Path]


def read_dataset(folder: pathlib.Path) -> Dataset:
  """What a folder's dataset.json says; ValueError where there is none."""
  path = folder / DATASET
  if not path.is_file():
    raise ValueError(
      f'{folder} has no {DATASET}; '
      f'{shipped.command("experiments/import_data.py")} {folder} --out=... '
      'makes a folder that has one'
    )
  remedy = 'import the videos again'
  fields = files.read_json(path, remedy)
  with files.form_of(path, remedy):
    return Dataset(**{name: fields[name] for name in Dataset._fields})


def write(
  source: pathlib.Path,
  out: pathlib.Path,
  shape: Shape,
  num_frames: int,
  min_frames: int,
  progress: Callable[[Sequence], Iterable] = iter,
) -> Imported:
  """Reads all videos below a folder and writes them into a new one.

  Videos of more than `num_frames` are cut into parts of equal length, all in
  the same split. Scenes with views of their own are not cut; the pictures of a
  room are put in a random order, and those of few rooms are divided
  (`rooms.divided`).

  Args:
    source: a folder of videos, or of train, validation and test.
    out: is there afterwards, or nothing is.
    shape: of the frames.
    num_frames: of a scene at most.
    min_frames: scenes of fewer are left out.
    progress: shows how far a loop over these is, as tqdm does.

  Raises:
    ValueError: in one line, for what cannot be read or makes no dataset.
  """
  groups, others = _grouped(source)
  todo = [(s, *item) for s, named in groups.items() for item in named.items()]
  new = out.with_name(f'.{out.name}.tmp')
  shutil.rmtree(new, ignore_errors=True)  # of an import that was killed
  scenes, short, widths = [], [], {}
  try:
    few = _are_few_rooms(source, todo)
    read = _few_rooms if few else _parts
    for split, name, path, video in read(progress(todo), shape, num_frames):
      count = len(video.frames)
      if count < min_frames:
        short.append(f'{path}{video.part} ({count})')
        continue
      file = pathlib.Path(split) / f'{name}{video.part}.npz'
      _save(new / file, video)
      widths[path] = 0 if video.views is None else video.views.shape[1]
      scenes.append(Scene(out / file, split, path, count, video.original))
    if not few and len(groups) < len(SPLITS):
      scenes = _divided(scenes, groups, new, out)
    counts = {split: sum(s.split == split for s in scenes) for split in SPLITS}
    _check(counts, source, short, min_frames)
    dataset = Dataset(
      name=out.name,
      frame_size=shape.size,
      num_frames=max(scene.count for scene in scenes),
      shortest=min(scene.count for scene in scenes),
      view_size=_view_size(widths),
      scenes=counts,
      fit=shape.fit,
      every=shape.every,
      split_by='photographs' if few else _split_by(source),
    )
    files.write_json(new / DATASET, dataset._asdict())
    os.replace(new, out)
  finally:
    shutil.rmtree(new, ignore_errors=True)
  return Imported(dataset, scenes, short, others)


def _split_by(source: pathlib.Path) -> str:
  own = len(_own_splits(source))
  return 'folders' if own == len(SPLITS) else 'hash' if not own else 'both'


def find(
  folder: pathlib.Path,
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
  """The scenes at a path or below it, and the files that are none.

  Raises:
    ValueError: in one line, where it is not clear what is a scene.
  """
  if not folder.is_dir():
    return ([folder], []) if videos.is_scene(folder) else ([], [folder])
  if cameras.is_posed(folder):  # all in it is of one room
    return [folder], []
  children = sorted(folder.iterdir(), key=in_order)
  children = [path for path in children if not files.is_left_behind(path)]
  if not videos.is_scene(folder):
    parts = [find(child) for child in children]
    return sum((x for x, _ in parts), []), sum((x for _, x in parts), [])
  stills = set(videos.stills(folder))
  for child in children:
    if stills and child not in stills and find(child)[0]:
      raise ValueError(
        f'{folder} holds pictures, as {min(stills, key=in_order).name}, and '
        f'videos, as {child.name}; a folder is a video or holds videos: move '
        'one kind away'
      )
  return [folder], []


def split_by_hash(names: Sequence[str]) -> dict[str, list[str]]:
  """Names by split: a tenth for validation, a tenth for the test.

  The SHA-256 of a name, read as a number from 0 to 1, decides: below 0.1 is
  the test, below 0.2 validation; so a name stays where it is when others come.
  A split that would have none takes the next in the order of these numbers.
  """
  luck = {name: _luck(name) for name in names}
  order = sorted(names, key=lambda name: (luck[name], name))
  test = max(1, sum(x < _SHARE for x in luck.values()))
  both = max(test + 1, sum(x < 2 * _SHARE for x in luck.values()))
  found = {
    'train': order[both:],
    'validation': order[test:both],
    'test': order[:test],
  }
  return {
    split: [name for name in names if name in set(chosen)]
    for split, chosen in found.items()
  }


def _luck(name: str) -> float:
  return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8


def _own_splits(source: pathlib.Path) -> dict[str, pathlib.Path]:
  """The folders of splits that the user made.

  Raises:
    ValueError: for some without one to train on: its videos would be divided
      with all others, and some that are to be tested would train.
  """
  found = {}
  if not source.is_dir() or cameras.is_posed(source):  # its pictures lie so
    return found
  for path in source.iterdir():
    split = _CALLED.get(path.name.lower(), path.name.lower())
    if split in SPLITS and path.is_dir():
      found[split] = path
  if 'train' in found:
    return found
  for path in found.values():
    if not videos.is_scene(path):
      raise ValueError(
        f'{source} has a folder {path.name}, and none called train: give what '
        f'trains this name, or {path.name} another'
      )
  return {}


def _grouped(
  source: pathlib.Path,
) -> tuple[dict[str, dict[str, pathlib.Path]], list[pathlib.Path]]:
  """Scenes by split and name, as far as the user made splits; what is none.

  Undivided scenes are of train.
  """
  groups, others = {}, []
  for split, folder in (_own_splits(source) or {'train': source}).items():
    found, more = find(folder)
    groups[split], others = _named(found, folder), others + more
  return groups, others


def _divided(
  scenes: Sequence[Scene],
  groups: Mapping[str, Mapping[str, pathlib.Path]],
  new: pathlib.Path,
  out: pathlib.Path,
) -> list[Scene]:
  """The scenes, some of train moved into the splits that are not there.

  By the names of the videos of which any scene is left.
  """
  left = {scene.source for scene in scenes}
  train = {name: path for name, path in groups['train'].items() if path in left}
  places = {
    train[name]: split
    for split, names in split_by_hash(list(train)).items()
    for name in names
    if split not in groups
  }
  found = []
  for scene in scenes:
    split = places.get(scene.source, scene.split)
    file = out / split / scene.file.name
    if split != scene.split:
      there = new / file.relative_to(out)
      there.parent.mkdir(exist_ok=True)
      os.replace(new / scene.file.relative_to(out), there)
    found.append(scene._replace(file=file, split=split))
  return found


def _named(
  found: Sequence[pathlib.Path], folder: pathlib.Path
) -> dict[str, pathlib.Path]:
  """Scenes by a name each: their way from the folder, without suffix."""
  named: dict[str, pathlib.Path] = {}
  for path in found:
    parts = path.relative_to(folder).parts or (path.name,)
    name = '-'.join((*parts[:-1], path.stem if path.is_file() else parts[-1]))
    if name in named:
      raise ValueError(
        f'{named[name]} and {path} would both be called {name}; rename one'
      )
    named[name] = path
  return named


def _are_few_rooms(source: pathlib.Path, todo: Sequence[tuple]) -> bool:
  """Tells whether photographs are held out, not rooms."""
  return (
    not _own_splits(source)
    and 0 < len(todo) < rooms.FEW
    and all(videos.is_room(path) for _, _, path in todo)
  )


def _few_rooms(
  todo: Iterable[tuple[str, str, pathlib.Path]], shape: Shape, num_frames: int
) -> Iterator[tuple[str, str, pathlib.Path, Video]]:
  """The scenes of few rooms: split, name, where they are from, and frames."""
  del num_frames  # each scene has a few
  read = {name: (path, *videos.read(path, shape)) for _, name, path in todo}
  counts = {name: len(video.frames) for name, (_, video) in read.items()}
  for number, (split, name, chosen) in enumerate(rooms.divided(counts)):
    path, video = read[name]
    frames, views = video.frames[chosen], video.views[chosen]
    video = video._replace(frames=frames, views=views, part=f'-{number:05}')
    yield split, name, path, video


def _parts(
  todo: Iterable[tuple[str, str, pathlib.Path]], shape: Shape, num_frames: int
) -> Iterator[tuple[str, str, pathlib.Path, Video]]:
  """The same of all else; each of a part of its own."""
  for split, name, path in todo:
    for video in videos.read(path, shape):
      if videos.is_room(path):
        order = rooms.mixed(name, len(video.frames))
        frames, views = video.frames[order], video.views[order]
        video = video._replace(frames=frames, views=views)
      count = math.ceil(len(video.frames) / num_frames)
      if count == 1 or video.views is not None:
        yield split, name, path, video
        continue
      for i, frames in enumerate(np.array_split(video.frames, count)):
        part = f'{video.part}-part{i + 1:03}'
        yield split, name, path, video._replace(frames=frames, part=part)


def _save(path: pathlib.Path, video: Video) -> None:
  arrays: dict[str, Any] = {'frames': video.frames}
  if video.views is not None:
    arrays['views'] = video.views
  files.write_npz(path, arrays)


def _view_size(widths: Mapping[pathlib.Path, int]) -> int:
  """data.view_size of all scenes; ValueError where they differ."""
  sizes = {
    path: CAMERA if width in (POSE, CAMERA) else width or _TIME
    for path, width in widths.items()
  }
  first = next(iter(sizes))
  for path, size in sizes.items():
    if size not in (_TIME, CAMERA):
      raise ValueError(
        f'{path}: its views have {size} numbers; a time has 1, a pose 5 and a '
        'camera 7'
      )
    if size != sizes[first]:
      with_, without = (first, path) if size == _TIME else (path, first)
      raise ValueError(
        f'{with_} has cameras, and {without} has none; a dataset is of rooms '
        'or of videos'
      )
  return sizes[first]


def _check(
  counts: Mapping[str, int],
  source: pathlib.Path,
  short: Sequence[str],
  min_frames: int,
) -> None:
  """ValueError unless each split has a scene."""
  empty = [split for split in SPLITS if not counts[split]]
  if not empty:
    return
  total, left = sum(counts.values()), ''
  if short:
    left = f', and {len(short)} of fewer than {min_frames} frames'
  raise ValueError(
    f'{source} gives {total} scenes{left}; {" and ".join(empty)} would have '
    'none: there must be at least 3 videos, each a file or a folder of pictures'
  )
