"""Pictures show the frames that were given, where they were asked."""

import numpy as np
from PIL import Image
import pytest

from cgqn_jax import images
from tests.film_files import read_film

GAP, CONTEXT = 8, (235, 125, 0)


def make_frames() -> np.ndarray:
  """Two rows of three 4x4 frames, each of one colour of its own."""
  colors = np.random.default_rng(0).uniform(size=(2, 3, 1, 1, 3))
  return np.broadcast_to(colors, (2, 3, 4, 4, 3)).astype(np.float32)


def test_to_uint8_clips_and_rounds():
  values = np.array([-1.0, 0.0, 0.5, 1.0, 7.0, np.nan])
  assert images.to_uint8(values).tolist() == [0, 0, 128, 255, 255, 0]
  assert images.to_uint8(np.uint8([3])).tolist() == [3]


def test_sheet_places_and_enlarges_every_frame():
  frames = make_frames()
  picture = images.sheet(frames, scale=5)
  assert picture.dtype == np.uint8
  assert picture.shape == (GAP + 2 * (20 + GAP), GAP + 3 * (20 + GAP), 3)
  for i in range(2):
    for j in range(3):
      y, x = GAP + i * (20 + GAP), GAP + j * (20 + GAP)
      cell = picture[y : y + 20, x : x + 20]
      assert (cell == images.to_uint8(frames[i, j, 0, 0])).all()
  assert (picture[0] == 255).all() and (picture[:, 0] == 255).all()


def test_sheet_chooses_a_readable_scale():
  wide = images.sheet(np.zeros((1, 3, 32, 32, 3), np.uint8))
  assert wide.shape[1] == GAP + 3 * (96 + GAP)
  crowded = images.sheet(np.zeros((1, 40, 32, 32, 3), np.uint8))
  assert crowded.shape[1] == GAP + 40 * (32 + GAP)


def test_sheet_marks_the_context_and_leaves_blanks():
  frames = make_frames()
  frames[1, 2] = np.nan
  picture = images.sheet(frames, context=[True, False, False], scale=5)
  marked = (picture == np.uint8(CONTEXT)).all(-1)
  # Two cells of 20 with borders of 3: (26^2 - 20^2) pixels each.
  assert marked.sum() == 2 * (26**2 - 20**2)
  assert marked[:, GAP + 20 + GAP :].sum() == 0
  y, x = GAP + 20 + GAP, GAP + 2 * (20 + GAP)
  assert (picture[y : y + 20, x : x + 20] == 238).all()


def test_labels_take_room_and_leave_the_frames_alone():
  frames = make_frames()
  bare = images.sheet(frames, scale=9)
  labelled = images.sheet(frames, ['truth', 'two\nlines'], 'abc', scale=9)
  down, right = (
    b - a for a, b in zip(bare.shape, labelled.shape, strict=True) if b > a
  )
  assert down > 10 and right > 30
  assert (labelled[down + 3 :, right + 3 :] == bare[3:, 3:]).all()
  # Ink stands above and left of the frames, away from the rim.
  ink = labelled.max(-1) < 100
  assert ink[:down].sum() > 20 and ink[down + GAP :, :right].sum() > 50
  assert not ink[0].any() and not ink[:, 0].any()


@pytest.mark.parametrize(
  ('labels', 'match'), [(['a'], '1 labels for 2 frames'), ([], 'not ')]
)
def test_sheet_refuses_what_does_not_fit(labels, match):
  frames = make_frames() if labels else make_frames()[0]
  with pytest.raises(ValueError, match=match):
    images.sheet(frames, labels)


def make_film() -> np.ndarray:
  """Two scenes of three samples at five times; one cell a pixel of its own."""
  frames = np.zeros((2, 3, 5, 8, 8, 3), np.uint8)
  for place in np.ndindex(2, 3, 5):
    frames[place] = np.array(place) * (100, 60, 40) + 20
  return frames


LABELS = {
  'scene_labels': ['scene 3', 'scene 7'],
  'sample_labels': ['truth', 'sample 1', 'sample 2'],
  'time_labels': ['F1', 'F2', 'F3', 'F10', 'F20'],
}


def runs_of(still, color) -> list[tuple[int, int]]:
  """Top left corners of the areas of a color, enlarged 12 times from 8x8."""
  hit = (still == np.uint8(color)).all(-1)
  assert hit.sum() % 96**2 == 0
  first = hit & ~np.roll(hit, 1, 0) & ~np.roll(hit, 1, 1)
  return [tuple(map(int, place)) for place in np.argwhere(first)]


@pytest.mark.parametrize('suffix', ['gif', 'apng', 'webp'])
def test_moving_pictures_have_a_scene_in_each_row(suffix, tmp_path):
  frames, path = make_film(), tmp_path / 'new' / f'film.{suffix}'
  images.save(path, frames, fps=5.0, **LABELS)
  with Image.open(path) as film:
    assert film.info['loop'] == 0
    film.seek(1)
    film.load()
    assert film.info['duration'] == 200
  stills = read_film(path)
  assert len(stills) == 5
  before = None
  for t, still in enumerate(stills):
    places = np.array(
      [
        [runs_of(still, frames[b, s, t, 0, 0]) for s in range(3)]
        for b in range(2)
      ]
    )[:, :, 0]
    # Rows are scenes and columns samples, at all times in the same places.
    assert np.ptp(places[:, :, 0], axis=1).max() == 0
    assert np.ptp(places[:, :, 1], axis=0).max() == 0
    assert (np.diff(places[:, :, 1], axis=1) == 96 + GAP).all()
    assert before is None or (places == before).all()
    before = places


def test_scenes_of_many_samples_stay_on_one_line(tmp_path):
  frames = np.zeros((2, 40, 1, 8, 8, 3), np.uint8)
  frames[1] = 90
  path = tmp_path / 'film.apng'
  names = [f'sample {i + 1}' for i in range(40)]
  images.save(path, frames, sample_labels=names)
  (still,) = read_film(path)
  wide = 40 * 8 * (2400 // (40 * 8))
  for color in (0, 90):
    across = (still == color).all(-1).sum(1)
    rows = np.flatnonzero(across == wide)  # all 40, side by side
    assert len(rows) == np.ptp(rows) + 1 == wide // 40
    assert (across[across != wide] < 40).all()  # some ink


def test_a_moving_picture_says_which_time_it_shows_and_what_was_seen(tmp_path):
  frames = np.zeros((1, 2, 5, 8, 8, 3), np.uint8)  # nothing moves but the time
  seen = np.array([True, False, False, True, False])
  path = tmp_path / 'film.apng'
  images.save(path, frames, **LABELS | {
    'scene_labels': ['scene 3'], 'sample_labels': ['truth', 'sample 1']
  }, context=seen)  # fmt: skip
  stills = read_film(path)
  tiles = np.flatnonzero((stills[1] == 0).all(-1).sum(1) == 2 * 96)
  title = stills[:, : tiles[0] - 28]
  assert len({still.tobytes() for still in title}) == 5  # all say another
  assert ((title.max(-1) < 100).sum((1, 2)) > 15).all()
  # The rest tells only what was seen: orange, at these times.
  orange = (stills == np.uint8(CONTEXT)).all(-1).sum((1, 2))
  assert (orange > 0).tolist() == seen.tolist()
  inside = stills[:, tiles[0] : tiles[-1] + 1]
  assert ((inside == 0).all(-1).sum((1, 2)) >= 2 * 96**2).all()  # uncovered
  foot = stills[:, tiles[-1] + 5 :]
  assert (foot == foot[0]).all() and (foot[0].max(-1) < 100).sum() > 50


def test_strips_say_what_was_context():
  frames = np.zeros((1, 3, 8, 8, 3), np.uint8)
  plain = images.sheet(frames)
  marked = images.sheet(frames, context=[True, False, False])
  below = marked[len(plain) :]
  assert len(below) > 10 and (below.max(-1) < 100).sum() > 50
  silent = images.sheet(frames, context=[True, False, False], note='')
  assert silent.shape == plain.shape


def test_long_notes_and_titles_stay_inside():
  frames = np.zeros((1, 1, 8, 8, 3), np.uint8)
  picture = images.sheet(
    frames, title='F120, seen by the model', note='several words ' * 20
  )
  ink = picture.max(-1) < 100
  assert not ink[:, -2:].any() and not ink[-2:].any()
  assert ink[GAP + 140 :].sum() > 500


def test_labels_of_narrow_columns_do_not_touch():
  frames = np.full((1, 200, 16, 16, 3), 255, np.uint8)
  names = [f'F{i + 1}' for i in range(200)]
  picture = images.sheet(frames, (), names)
  rows = picture[: picture.shape[0] - 16 - 2 * GAP]
  ink = (rows < 180).all(-1).any(0)
  # Between two labels is always a gap, wider than those inside of one.
  starts = np.flatnonzero(ink & ~np.roll(ink, 1))
  assert (np.diff(starts) >= 6).sum() > 30


def test_frame_names():
  assert images.frame_names([5, 0, 1, 2, 3, 4]) == 'F1 to F6'
  assert images.frame_names([3, 0]) == 'F1, F4'
  assert images.frame_names([8, 3, 4]) == 'F4, F5, F9'
  assert images.frame_names([]) == 'no frame'


def test_the_suffix_decides(tmp_path):
  frames = (make_frames() * 3 - 1)[None]
  images.save(tmp_path / 'a.npz', frames, arrays={'views': np.arange(3)})
  with np.load(tmp_path / 'a.npz') as saved:
    assert (saved['frames'] == frames[0]).all()  # as they are, not clipped
    assert saved['views'].tolist() == [0, 1, 2]
  images.save(tmp_path / 'a.png', frames)
  with Image.open(tmp_path / 'a.png') as image:
    assert (np.asarray(image) == images.sheet(frames[0])).all()
  for name in ('a.avi', 'a', 'a.PNG.txt'):
    with pytest.raises(ValueError, match='use one of .png'):
      images.check_path(tmp_path / name)
  (tmp_path / 'b.png').mkdir()
  with pytest.raises(ValueError, match='is a folder'):
    images.check_path(tmp_path / 'b.png')
