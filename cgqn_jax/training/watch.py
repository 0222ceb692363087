"""Names a training that goes wrong without an error: collapse and explosion.

Not of the paper. Both show in the KL between posterior and prior.
"""

from collections import deque

from ml_collections import ConfigDict
import numpy as np

from cgqn_jax.config import DETERMINISTIC

_NATS = 0.1  # a KL below it tells the renderer nothing
_TIMES = 10.0  # of its median, and the KL explodes
_UPDATES = 1_000  # of which the median is taken
_WARM_UP = 0.15  # share of a run whose config has no weight of the KL
_GREY = 0.5 / 255  # samples that differ by less are the same picture


class Watch:
  """Looks at the KL of one run; says each thing once a start."""

  def __init__(self, config: ConfigDict) -> None:
    self._config = config
    self._recent: deque[float] = deque(maxlen=_UPDATES)
    no_latent = (
      config.model.name in DETERMINISTIC
      or config.model.get('latent_steps') == 0
    )
    self._exploded = self._collapsed = no_latent
    schedule = config.get('kl_weight')
    share = schedule.boundaries[-1] if schedule else _WARM_UP
    self._warm = share * config.num_steps

  def update(self, step: int, kl: float) -> str | None:
    """Notes the KL of an update, in nats; says so where it explodes."""
    text, recent = None, self._recent
    if not self._exploded and len(recent) == _UPDATES and np.isfinite(kl):
      usual = float(np.median(recent))
      if usual > _NATS and kl > _TIMES * usual:
        self._exploded = True
        text = (
          f'warning: explosion: at update {step:,} the KL is {kl:,.4g} nats, '
          f'and the median of the {_UPDATES:,} updates before is {usual:,.4g}; '
          'lower learning_rate.values or optimizer.clip_norm'
        )
    if np.isfinite(kl):
      recent.append(kl)
    return text

  def wants_samples(self, step: int, kl: float) -> bool:
    """Tells whether samples must be compared: the KL is as if collapsed."""
    return not self._collapsed and step >= self._warm and kl < _NATS

  def collapse(self, step: int, kl: float, spread: float) -> str | None:
    """Says so where the latent is not used.

    Args:
      step: of a validation at which `wants_samples`.
      kl: of validation, in nats.
      spread: root-mean-square difference of two samples of the same scenes,
        of frames in [0, 1].
    """
    if spread >= _GREY:
      return None
    self._collapsed = True
    change = 'pixel_variance.values'
    if 'kl_weight' in self._config:
      change = f'{change}, or kl_weight.values at first'
    return (
      f'warning: collapse: at update {step:,} the KL is {kl:.2g} nats and two '
      'samples of a scene are the same picture, so the latent is not used; '
      f'lower {change}, and begin anew'
    )
