"""What all figures share: names and colors of models, captions, saving.

CGQN is blue and GQN red, as in the paper.
"""

from collections.abc import Collection, Sequence
import pathlib
import textwrap

import matplotlib
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from cgqn_jax import fields
from cgqn_jax.files import replacing

FORMATS = ('png', 'pdf', 'svg')
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
_PLAIN = (bool, int, float, str)
_TOLD = 3  # differences between runs in a legend
INK, FAINT = '#333333', '#8a8a8a'


def name(model: str) -> str:
  """The name of a model in legends."""
  return _MODELS.get(model, (model, FAINT))[0]


def color(model: str) -> str:
  """The color of a model in all figures; grey for one that is none of ours."""
  return _MODELS.get(model, (model, FAINT))[1]


def run_names(configs: Sequence[ConfigDict]) -> list[str]:
  """Runs in legends: the model, and what sets each apart from the others."""
  flat = [fields.flatten(config.to_dict()) for config in configs]
  models = {one['model.name'] for one in flat}
  apart = [
    field
    for field in flat[0]
    if field not in ('model.name', 'data.path', 'data.data_dir')
    # Not the fields of other models: their name says it. Not schedules and
    # lists: their numbers say nothing in a line.
    and not (len(models) > 1 and field.startswith('model.'))
    and all(isinstance(one.get(field), _PLAIN) for one in flat)
    and len({one[field] for one in flat}) > 1
  ]
  labels = []
  for one in flat:
    parts = [name(one['model.name'])]
    for field in apart[:_TOLD]:
      text = f'{field.rpartition(".")[2]} {one[field]}'
      parts.append(text.removeprefix('config ').replace('_', ' '))
    labels.append(', '.join(parts + ['...'] * (len(apart) > _TOLD)))
  if len(set(labels)) < len(labels):  # their order is what tells them apart
    labels = [f'{label}, run {i}' for i, label in enumerate(labels, 1)]
  return labels


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
  """Writes a figure in the format that the suffix says, fine enough for print.

  PDF and SVG are the same bytes for the same figure, and PDF has fonts that
  journals take.
  """
  kind = path.suffix[1:].lower()
  undated = {'pdf': {'CreationDate': None}, 'svg': {'Date': None}}.get(kind)
  look = {'pdf.fonttype': 42, 'svg.hashsalt': 'cgqn_jax'}
  with matplotlib.rc_context(look), replacing(path) as file:
    figure.savefig(
      file, format=kind, dpi=200, facecolor='white', metadata=undated
    )
