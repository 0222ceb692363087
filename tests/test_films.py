"""Moving pictures have the colors that were given, as near as a file can."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from cgqn_jax import films, images
from cgqn_jax.simulators import dice
from tests.film_files import read_film

PAPER, GREEN = (255, 255, 255), (40, 180, 60)


@pytest.fixture(scope='module')
def rich():
  """Rooms of many colors, and in them small flat squares, one a still."""
  rooms = dice.sample_batch('test', range(3), style=dice.STYLES['default'])
  views = np.asarray(dice.render_batch(rooms, 32, 2)[0])[:, :12]
  film = views.repeat(4, 2).repeat(4, 3)
  film = np.concatenate(list(film), 2)
  rng = np.random.default_rng(0)
  flat = np.zeros(film.shape[:3], bool)
  for t, color in enumerate([GREEN, *rng.integers(0, 256, (11, 3))]):
    y, x = 12 * (t % 8), 25 * t
    film[t, y : y + 16, x : x + 16] = color
    flat[t, y : y + 16, x : x + 16] = True
  assert len(np.unique(film.reshape(-1, 3), axis=0)) > 5000
  return film, flat


def test_a_gif_keeps_flat_colors_and_is_near_everywhere(rich, tmp_path):
  film, flat = rich
  films.save(tmp_path / 'film.gif', film, 4.0)
  apart = abs(read_film(tmp_path / 'film.gif').astype(int) - film)
  assert apart[flat].max() <= 8
  assert apart.mean() < 4


def test_a_gif_of_few_colors_is_exact(tmp_path):
  rng = np.random.default_rng(0)
  colors = np.array([PAPER, GREEN, *rng.integers(0, 256, (254, 3))], np.uint8)
  film = colors[rng.integers(0, 256, (4, 50, 60))]
  films.save(tmp_path / 'film.gif', film, 4.0)
  assert (read_film(tmp_path / 'film.gif') == film).all()


def test_what_stands_still_does_not_flicker(rich):
  film, _ = rich
  film = film.copy()
  film[:, :20] = film[0, :20]
  indices, _ = films.reduce_colors(film)
  assert (indices[:, :20] == indices[0, :20]).all()


@pytest.mark.parametrize('suffix', ['apng', 'webp'])
def test_others_are_exact(rich, suffix, tmp_path):
  film, _ = rich
  films.save(tmp_path / f'film.{suffix}', film[:5], 8.0)
  assert (read_film(tmp_path / f'film.{suffix}') == film[:5]).all()


def test_mp4_has_the_colors_and_the_speed(tmp_path):
  ffmpeg = pytest.importorskip('imageio_ffmpeg')
  film = np.full((6, 33, 41, 3), PAPER, np.uint8)  # odd, and no player's size
  colors = [GREEN, (200, 30, 40), (20, 40, 220), (90, 90, 90)]
  for k, color in enumerate(colors):
    film[:, 8:24, 10 * k : 10 * k + 10] = color
  path = tmp_path / 'new' / 'film.mp4'
  films.save(path, film, 5.0)
  assert [file.name for file in path.parent.iterdir()] == ['film.mp4']
  decoder = [ffmpeg.get_ffmpeg_exe(), '-i', str(path), '-f', 'rawvideo']
  done = subprocess.run(
    [*decoder, '-pix_fmt', 'rgb24', '-'], capture_output=True, check=True
  )
  said = done.stderr.decode()
  assert 'h264' in said and 'yuv420p(tv, bt709' in said and '5 fps' in said
  stills = np.frombuffer(done.stdout, np.uint8).reshape(-1, 34, 42, 3)
  assert len(stills) == 6
  for still in stills:
    for k, color in enumerate(colors):
      inside = still[11:21, 10 * k + 3 : 10 * k + 7].astype(int)
      assert abs(inside - color).max() <= 8, (color, inside[0, 0])


def test_mp4_names_the_extra_that_is_missing(monkeypatch):
  monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
  with pytest.raises(ValueError, match='film.mp4: .* pip install imageio-ffm'):
    images.check_path(pathlib.Path('film.mp4'))


@pytest.mark.parametrize('fps', [0, -1, float('nan'), float('inf'), 101])
def test_fps_that_no_file_has(fps, tmp_path):
  with pytest.raises(ValueError, match='it must be 0.01 to 100'):
    films.save(tmp_path / 'a.gif', np.zeros((1, 2, 2, 3), np.uint8), fps)
  assert not any(tmp_path.iterdir())
