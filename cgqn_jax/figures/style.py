"""What all figures share: names and colors of models, captions, saving.

CGQN is blue and GQN red, as in the paper.
"""

import textwrap
from typing import Any

from matplotlib.figure import Figure

STYLE = {
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlesize': 9,
  'axes.labelsize': 8,
  'font.size': 8,
  'legend.fontsize': 8,
  'legend.frameon': False,
  'xtick.labelsize': 7,
  'ytick.labelsize': 7,
}
NAMES = {
  'cgqn': 'CGQN',
  'cgqn_context': 'CGQN*',
  'gqn': 'GQN',
  'sssm': 'sSSM',
  'sv2p': 'SV2P',
  'cdna': 'CDNA',
}
FOOTNOTE = '* its renderer sees the context'
_COLORS = {
  'cgqn': '#1f5aa6',
  'cgqn_context': '#6aa5dd',
  'gqn': '#c4342d',
  'sssm': '#3a8f4d',
  'sv2p': '#d98a1b',
  'cdna': '#7d5ba6',
}
INK, FAINT = '#333333', '#8a8a8a'


def name(model: str) -> str:
  """As the legends have it."""
  return NAMES.get(model, model)


def color(model: str) -> str:
  """The same in all figures; grey for a model that is none of ours."""
  return _COLORS.get(model, FAINT)


def caption(figure: Figure, text: str) -> None:
  """A protocol in small print below everything; makes room for itself."""
  width, height = figure.get_size_inches()
  lines = textwrap.wrap(text, int(width * 19))
  room = 0.13 * len(lines) + 0.08
  figure.set_size_inches(width, height + room)
  share = room / (height + room)
  engine = figure.get_layout_engine()
  if engine is not None:
    engine.set(rect=(0, share, 1, 1 - share))
  else:
    # All that is there keeps its size, above the text.
    for axis in figure.axes:
      x, y, wide, high = axis.get_position().bounds
      box = (x, share + (1 - share) * y, wide, (1 - share) * high)
      axis.set_position(box)
    for other in figure.texts:
      other.set_y(share + (1 - share) * other.get_position()[1])
  figure.text(
    0.1 / width,
    0.06 / (height + room),
    '\n'.join(lines),
    fontsize=6.5,
    color=INK,
    va='bottom',
    linespacing=1.25,
  )


def save(figure: Figure, path: Any) -> None:
  """A PNG, fine enough for print."""
  figure.savefig(path, dpi=200, facecolor='white')
