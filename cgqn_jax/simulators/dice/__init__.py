"""Rooms with a die of handwritten digits (paper, section 4.2).

A room is data: `sample` draws one, `render` and `render_batch` show its views
and count what each of them sees of every face.
"""

from cgqn_jax.simulators.dice.digits import NUM_DIGITS, PER_CLASS, digits
from cgqn_jax.simulators.dice.rendering import (
  Views,
  face_pixels,
  render,
  render_batch,
)
from cgqn_jax.simulators.dice.rooms import (
  COLORS,
  FACES,
  FIELD_OF_VIEW,
  NUM_SIDES,
  NUM_VIEWS,
  STYLES,
  Room,
  Style,
  sample,
  sample_batch,
  stack,
  turntable,
  with_digits,
)
from cgqn_jax.simulators.draws import SPLITS

__all__ = [
  'COLORS',
  'FACES',
  'FIELD_OF_VIEW',
  'NUM_DIGITS',
  'NUM_SIDES',
  'NUM_VIEWS',
  'PER_CLASS',
  'SPLITS',
  'STYLES',
  'Room',
  'Style',
  'Views',
  'digits',
  'face_pixels',
  'render',
  'render_batch',
  'sample',
  'sample_batch',
  'stack',
  'turntable',
  'with_digits',
]
