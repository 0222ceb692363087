"""Kinds of scenes, and what each knows: how it is judged and told of.

A task is a module with these functions:

  judged(config): which frames are judged, and how; part of a protocol.
  see(config, frames): makes these frames the context.
  evaluate(subject): all scores.
  point(subject): those of a training curve.
  report(metrics, protocol): the scores as a table of text.
  headline(rows), columns(rows), anchors(rows): what tables of models show.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from cgqn_jax.data import protocols, sources
from cgqn_jax.data.examples import Source
from cgqn_jax.evaluation import dice, videos
from cgqn_jax.models.build import pixel_variance

TASKS = {'videos': videos, 'dice': dice}


def for_config(config: ConfigDict) -> ModuleType:
  """The task of a config's scenes."""
  return TASKS[protocols.for_config(config).task]


def of_rows(rows: Sequence[Mapping[str, Any]]) -> ModuleType:
  """The task of rows of runs.jsonl, all of one experiment."""
  return TASKS[rows[0]['protocol_task']]


def protocol(
  config: ConfigDict, source: Source, step: int, asked: dict[str, Any]
) -> dict[str, Any]:
  """What stands beside every number of an evaluation.

  Args:
    config: of the run.
    source: of the scenes.
    step: updates of the checkpoint.
    asked: num_scenes, num_samples, num_draws, batch_size and seed.
  """
  return {
    'task': protocols.for_config(config).task,
    'model': config.model.name,
    'dataset': sources.dataset_name(config),
    'source': config.data.source,
    'split': source.split,
    'step': step,
    'num_scenes': min(asked['num_scenes'], len(source)),
    'num_samples': asked['num_samples'],
    'num_draws': asked['num_draws'],
    'batch_size': asked['batch_size'],
    'seed': asked['seed'],
    'frame_size': config.data.frame_size,
    'pixel_variance': float(pixel_variance(config)(config.num_steps)),
    **for_config(config).judged(config),
  }
