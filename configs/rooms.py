"""configs/gqn_rooms.py, by its name in version 0.1."""

import pathlib
import runpy

get_config = runpy.run_path(
  str(pathlib.Path(__file__).with_name('gqn_rooms.py'))
)['get_config']
