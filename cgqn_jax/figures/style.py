"""What all figures share: names and colors of models, captions, saving.

CGQN is blue and GQN red, as in the paper.
"""

from collections.abc import Collection
import pathlib
import textwrap

from matplotlib.figure import Figure

from cgqn_jax.files import replacing

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
_MODELS = {  # in legends, and its color
  'cgqn': ('CGQN', '#1f5aa6'),
  'cgqn_context': ('CGQN*', '#6aa5dd'),
  'gqn': ('GQN', '#c4342d'),
  'sssm': ('sSSM', '#3a8f4d'),
  'sv2p': ('SV2P', '#d98a1b'),
  'cdna': ('CDNA', '#7d5ba6'),
}
INK, FAINT = '#333333', '#8a8a8a'


def name(model: str) -> str:
  """The name of a model in legends."""
  return _MODELS.get(model, (model, FAINT))[0]


def color(model: str) -> str:
  """The color of a model in all figures; grey for one that is none of ours."""
  return _MODELS.get(model, (model, FAINT))[1]


def footnote(models: Collection[str]) -> str:
  """What the star means, to follow a caption; empty where no model has it."""
  starred = 'cgqn_context' in models
  return ' * its renderer sees the context.' if starred else ''


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


def save(figure: Figure, path: pathlib.Path) -> None:
  """A PNG, fine enough for print."""
  with replacing(path) as file:
    figure.savefig(file, format='png', dpi=200, facecolor='white')
