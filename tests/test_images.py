"""Pictures show the frames that were given, where they were asked."""

import numpy as np
from PIL import Image
import pytest

from cgqn_jax import images

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


def test_gif_loops_through_all_times(tmp_path):
  times = 5
  frames = np.zeros((9, times, 8, 8, 3), np.uint8)
  for t in range(times):
    frames[:, t] = (50 * t, 200 - 50 * t, 90)
  path = tmp_path / 'new' / 'film.gif'
  images.save(path, frames, row_labels=[f's{i}' for i in range(9)], fps=5.0)
  with Image.open(path) as film:
    assert film.n_frames == times
    assert (film.info['duration'], film.info['loop']) == (200, 0)
    for t in range(times):
      film.seek(t)
      still = np.asarray(film.convert('RGB')).astype(int)
      shown = (abs(still - frames[0, t, 0, 0]).max(-1) <= 4).sum()
      assert shown == 9 * 96 * 96  # nine samples of 8x8, enlarged 12 times


def test_the_suffix_decides(tmp_path):
  frames = make_frames() * 3 - 1
  images.save(tmp_path / 'a.npz', frames, arrays={'views': np.arange(3)})
  with np.load(tmp_path / 'a.npz') as saved:
    assert (saved['frames'] == frames).all()  # as they are, not clipped
    assert saved['views'].tolist() == [0, 1, 2]
  images.save(tmp_path / 'a.png', frames)
  with Image.open(tmp_path / 'a.png') as image:
    assert (np.asarray(image) == images.sheet(frames)).all()
  for name in ('a.mp4', 'a', 'a.PNG.txt'):
    with pytest.raises(ValueError, match='use one of .png'):
      images.check_path(tmp_path / name)
  (tmp_path / 'b.png').mkdir()
  with pytest.raises(ValueError, match='is a folder'):
    images.check_path(tmp_path / 'b.png')
