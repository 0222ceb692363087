"""Consistent Generative Query Networks in JAX: any frames in, any out.

predictor = cgqn_jax.predictor('color_reaction')  # or a training's folder
futures = predictor.sample(frames, [0, 3], range(12), num_samples=4)

Below it, as pure functions:

model, params, config = cgqn_jax.load('runs/...')
frames = model.sample(params, key, context, context_mask, views, 4)
"""

import importlib
from typing import Any

__version__ = '0.2.0'

# Read when they are asked for: a program whose imports take seconds must be
# able to take signals before (`training.preemption`).
_HOMES = {
  'CGQN': 'models.cgqn',
  'Batch': 'types',
  'Categorical': 'types',
  'Choices': 'types',
  'Elbo': 'types',
  'Latent': 'models.cgqn',
  'Normal': 'types',
  'Predictor': 'prediction',
  'Scene': 'types',
  'build': 'models.build',
  'load': 'training.workdir',
  'predictor': 'prediction',
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
  if name in _HOMES:
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
