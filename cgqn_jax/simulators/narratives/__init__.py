"""Narratives of 2D shapes: a seed becomes a story (paper, section 4.1).

A story is data: `sample` draws one, `render` and `render_batch` show it,
`hypotheses` lists everything else that its seen frames allow. A new narrative
is one file like `traveling.py`, and one line in `sampling.py`.
"""

from cgqn_jax.simulators.narratives.futures import hypotheses
from cgqn_jax.simulators.narratives.rendering import render, render_batch
from cgqn_jax.simulators.narratives.sampling import (
  NARRATIVES,
  sample,
  sample_batch,
  stack,
)
from cgqn_jax.simulators.narratives.stories import Story

__all__ = [
  'NARRATIVES',
  'Story',
  'hypotheses',
  'render',
  'render_batch',
  'sample',
  'sample_batch',
  'stack',
]
