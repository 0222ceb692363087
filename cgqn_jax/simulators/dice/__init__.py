"""Rooms with a die of handwritten digits (paper, section 4.2).

A room is data: `sample` draws one, `render_batch` shows the views of some and
counts what each of them sees of every face.
"""

from cgqn_jax.simulators.dice.digits import PER_CLASS, digits
from cgqn_jax.simulators.dice.rendering import (
  Views,
  face_pixels,
  render_batch,
)
from cgqn_jax.simulators.dice.rooms import (
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

__all__ = [
  'FACES',
  'FIELD_OF_VIEW',
  'NUM_SIDES',
  'NUM_VIEWS',
  'PER_CLASS',
  'STYLES',
  'Room',
  'Style',
  'Views',
  'digits',
  'face_pixels',
  'render_batch',
  'sample',
  'sample_batch',
  'stack',
  'turntable',
  'with_digits',
]
