"""CDNA, SV2P and sSSM at a test's size, as several tests want them."""

import optax

from cgqn_jax.models import sequential
from cgqn_jax.models.cdna import CDNANetworks
from cgqn_jax.models.sssm import SSSMNetworks
from cgqn_jax.models.sv2p import SV2PNetworks

NAMES = ('cdna', 'sv2p', 'sssm')
FRAMES, CONTEXT = 7, 3


def make_networks(name, frame_size=16, num_frames=FRAMES, width=0.125):
  """A model's networks at the size of a table's row, or at a test's."""
  size = (frame_size, num_frames)
  small = frame_size < 32
  if name == 'cdna':
    return CDNANetworks(*size, width, kernel_size=5, num_kernels=10)
  if name == 'sv2p':
    latent = 1 if frame_size == 64 else 4
    return SV2PNetworks(*size, width, 5, 10, latent, time_variant=False)
  context, latent = (CONTEXT, 2) if small else (6, 64)
  return SSSMNetworks(*size, context, width, latent)


def make_model(name, **fields):
  networks = make_networks(name, **fields)
  return sequential.Sequential(networks, optax.constant_schedule(0.5))
