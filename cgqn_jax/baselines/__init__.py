"""CDNA, SV2P and sSSM: what CGQN is compared with (paper, section 4.1)."""

from cgqn_jax.baselines.cdna import CDNA, CDNANetworks, scheduled_sampling
from cgqn_jax.baselines.sequential import (
  Sequential,
  check_sequential,
  horizon_of,
)
from cgqn_jax.baselines.sssm import SSSM, SSSMNetworks
from cgqn_jax.baselines.sv2p import SV2P, SV2PNetworks

# The `width` at which a model has as many parameters as CGQN of that tier, to
# 2 %, by frame size: 1,051,207 (S), 3,963,815 (M) and 8,752,391 (L). At 1 they
# are of their authors' size. For videos of 21 frames, 6 of them context.
WIDTHS = {
  ('cdna', 64): {'S': 0.28, 'M': 0.645, 'L': 1.03},
  ('cdna', 32): {'S': 0.365, 'M': 0.76, 'L': 1.145},
  ('sv2p', 64): {'S': 0.28, 'M': 0.645, 'L': 1.03},
  ('sv2p', 32): {'S': 0.36, 'M': 0.75, 'L': 1.14},
  ('sssm', 64): {'S': 1.305, 'M': 2.65, 'L': 3.975},
  ('sssm', 32): {'S': 1.32, 'M': 2.65, 'L': 3.975},
}

__all__ = [
  'CDNA',
  'CDNANetworks',
  'SSSM',
  'SSSMNetworks',
  'SV2P',
  'SV2PNetworks',
  'WIDTHS',
  'Sequential',
  'check_sequential',
  'horizon_of',
  'scheduled_sampling',
]
