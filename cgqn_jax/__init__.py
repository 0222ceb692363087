"""Consistent Generative Query Networks in JAX: any frames in, any out.

model, params, config = cgqn_jax.load('runs/...')
frames = model.sample(params, key, context, context_mask, views, 4)
"""

from cgqn_jax.models.build import build
from cgqn_jax.models.cgqn import CGQN, Latent
from cgqn_jax.training.workdir import load
from cgqn_jax.types import Batch, Elbo, Normal, Scene

__all__ = [
  'CGQN',
  'Batch',
  'Elbo',
  'Latent',
  'Normal',
  'Scene',
  'build',
  'load',
]
