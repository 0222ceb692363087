"""What each field of a config may be: one table, checked before all else.

A field is named as on the command line, without its `--config.`. A new field
is a row here; if runs were made without it, the row says what they did.
"""

from collections.abc import Callable, Mapping
import difflib
import math
from typing import Any, NamedTuple

from ml_collections import ConfigDict

REQUIRED = object()  # `absent` of fields that every config has
_LARGEST = 2**31 - 1  # of an int32


class Field(NamedTuple):
  """One row of the table.

  allowed: what the field may be, in words that follow 'it must be'.
  fits: whether a value is that, for a value of any type.
  absent: what runs did whose config.json lacks it, or REQUIRED.
  """

  allowed: str
  fits: Callable[[Any], bool]
  absent: Any = REQUIRED


def whole(
  least: int, most: int = _LARGEST, zero: str = '', absent: Any = REQUIRED
) -> Field:
  """A whole number; `zero` says what 0 means."""
  first = f'{least}, {zero},' if zero else f'{least}'

  def fits(value: Any) -> bool:
    return type(value) is int and least <= value <= most

  return Field(f'a whole number from {first} to {most:,}', fits, absent)


def odd(most: int) -> Field:
  """An odd whole number, of a kernel with a middle."""

  def fits(value: Any) -> bool:
    return type(value) is int and 1 <= value <= most and value % 2 == 1

  return Field(f'odd, a whole number from 1 to {most}', fits)


def real(
  least: float,
  most: float,
  *,
  above: bool = False,
  below: bool = False,
  absent: Any = REQUIRED,
) -> Field:
  """A finite number; `above` and `below` leave out the ends."""
  ends = ('above' if above else 'from', 'to below' if below else 'to')

  def fits(value: Any) -> bool:
    if type(value) not in (int, float) or not math.isfinite(value):
      return False
    if (above and value == least) or (below and value == most):
      return False
    return least <= value <= most

  return Field(f'a number {ends[0]} {least:g} {ends[1]} {most:g}', fits, absent)


def switch(absent: Any = REQUIRED) -> Field:
  """True or False."""
  return Field('True or False', lambda value: type(value) is bool, absent)


def text(absent: Any = REQUIRED) -> Field:
  """Any text: a name, or a path."""
  return Field('text', lambda value: type(value) is str, absent)


def choice(*names: str, absent: Any = REQUIRED) -> Field:
  """One of these names."""
  *others, last = map(repr, names)

  def fits(value: Any) -> bool:
    return type(value) is str and value in names

  return Field(f'{", ".join(others)} or {last}', fits, absent)


def several(field: Field, count: int | None = None, least: int = 0) -> Field:
  """A tuple, from JSON a list, of what `field` allows: `count` of them."""
  of = f'{count} values' if count else 'a tuple of values'

  def fits(value: Any) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) < least:
      return False
    return count in (None, len(value)) and all(map(field.fits, value))

  return Field(f'{of} with commas between, each {field.allowed}', fits)


def schedule(name: str, value: Field) -> dict[str, Field]:
  """The three rows of a schedule, see `models.schedules`."""

  def rises(shares: Any) -> bool:
    return bounds.fits(shares) and list(shares) == sorted(shares)

  bounds = several(real(0, 1), least=1)
  words = 'shares of the run that rise from 0 to 1, with commas between'
  return {
    f'{name}.boundaries': Field(words, rises),
    f'{name}.values': several(value, least=1),
    f'{name}.interpolation': choice('linear', 'cosine', 'constant'),
  }


_VARIANCE = real(1e-6, 1e6)
_WIDTH = whole(1, 4_096)
_EVERY = 'for never but at the end'
_LEARNING_RATE = schedule('learning_rate', real(0, 1_000))
_PIXEL_VARIANCE = schedule('pixel_variance', _VARIANCE)
_KL_WEIGHT = schedule('kl_weight', real(0, 1e6))

# Of every run. What `absent` says is what 0.1 did, or how a run is watched.
RUN: dict[str, Field] = {
  'seed': whole(0),
  'dataset': text(),
  'preset': text(),
  'init_from': text(absent=''),
  'num_steps': whole(1),
  'batch_size': whole(1, 65_536),
  'ema_decay': real(0, 1, below=True, absent=0.0),
  'data.source': choice('tfds', 'simulator', 'folder', 'gqn'),
  'data.path': text(absent=''),
  'data.data_dir': text(absent=''),
  'data.workers': whole(0, 1_024, 'for a thread', absent=0),
  'data.frame_size': whole(1, 1_024),
  'data.tiny': switch(absent=False),
  'data.config': text(),
  'data.num_frames': whole(1, 10_000),
  'data.view_size': whole(1, 1_000),
  'data.protocol': text(),  # one of data.protocols.PROTOCOLS
  'data.min_context': whole(0, 10_000),
  'data.max_context': whole(0, 10_000),
  'data.num_targets': whole(1, 10_000),
  'model.name': text(),  # one of models.build.BUILDERS
  **_LEARNING_RATE,
  **_PIXEL_VARIANCE,
  'optimizer.name': choice('adam', 'muon', absent='adam'),
  'optimizer.b1': real(0, 1, below=True),
  'optimizer.b2': real(0, 1, below=True),
  'optimizer.eps': real(1e-20, 1),
  'optimizer.clip_norm': real(0, 1e12, above=True),
  'max_skipped_in_a_row': whole(1, 2**30, absent=20),
  'log_every': whole(0, zero=_EVERY, absent=100),
  'picture_every': whole(0, zero=_EVERY, absent=5_000),
  'validate_every': whole(0, zero=_EVERY, absent=5_000),
  'validation_scenes': whole(1, absent=256),
  'validation_best_of': whole(0, 10_000, 'for none', absent=0),
  'checkpoint_every': whole(0, zero=_EVERY, absent=5_000),
  'keep_checkpoints': whole(1, absent=2),
}

# Of protocols that are of videos.
_FRAMES = {
  'data.context_window': whole(0, 10_000),
  'data.any_context_share': real(0, 1),
  'data.test_context': several(whole(0, 9_999)),
}
_SIDES = {
  'data.any_context_share': real(0, 1, absent=0.0),
  'data.min_targets': whole(1, 10_000, absent=1),
}
PROTOCOLS = {'frames': _FRAMES, 'sequence': _FRAMES, 'hidden_side': _SIDES}

_DRAW = {
  'model.networks': choice('draw', 'residual', absent='draw'),
  'model.draw_steps': whole(1, 1_000),
  'model.nf_z': _WIDTH,
  'model.nf_to_hidden': _WIDTH,
  'model.nf_enc': _WIDTH,
  'model.nf_to_obs': _WIDTH,
  'model.nf_dec': _WIDTH,
  'model.stride_to_hidden': whole(1, 256),
  'model.stride_to_obs': whole(1, 1_024),
  'model.posterior_sees_prior': switch(),
  'model.z_per_step': switch(),
  'model.latent_sees_query': switch(),
  'model.kernel': odd(63),
  'model.encoder_widths': several(_WIDTH, 4),
  'model.renderer_sees_context': switch(),
  'model.normalize_r': switch(absent=False),
  'model.frame_scale': real(0, 1e6, above=True, absent=1.0),
  'model.view_gains': switch(absent=False),
}
_RESIDUAL = {
  'model.networks': _DRAW['model.networks'],
  'model.latent_sees_query': switch(),
  'model.width': _WIDTH,
  'model.representation': _WIDTH,
  'model.encoder_blocks': whole(0, 1_000),
  'model.renderer_blocks': whole(0, 1_000),
  'model.latent_steps': whole(0, 1_000, 'for none'),
  'model.glance': whole(0, 4_096, 'for none', absent=0),
  'model.map_latent': whole(0, 4_096),
  'model.vector_latent': whole(0, 4_096, 'for choices'),
  'model.rotated': switch(),
  'model.codes': whole(0, 4_096, 'for none', absent=0),
  'model.fine': whole(0, 4_096, 'for none', absent=0),
  'model.bfloat16': switch(),
  'num_rendered': whole(0, 10_000, 'for all'),
  **_KL_WEIGHT,
}
_CDNA = {
  'model.width': real(0, 16, above=True),
  'model.kernel_size': odd(31),
  'model.num_kernels': whole(1, 1_000),
  'model.truth_half_life': real(0, 10, above=True),
}
_SV2P = {
  **_CDNA,
  'model.latent': _WIDTH,
  'model.time_variant': switch(),
  **schedule('informed', real(0, 1)),
  **_KL_WEIGHT,
}
_SSSM = {
  'model.width': real(0, 16, above=True),
  'model.latent': _WIDTH,
  'model.free_nats': real(0, 1e6),
  **_KL_WEIGHT,
}
# By `model.networks`, else by `model.name`. A model of one's own that is not
# here has what fields it likes.
MODELS = {
  'draw': _DRAW,
  'residual': _RESIDUAL,
  'cdna': _CDNA,
  'sv2p': _SV2P,
  'sssm': _SSSM,
}

_COUNT = whole(1)
# Of an experiment of many runs, configs/*comparison.py.
EXPERIMENT = {
  'preset': text(),
  'base': text(),
  'compared': text(),
  'seeds': several(whole(0), least=1),
  'final_variances': several(_VARIANCE),
  'num_steps': _COUNT,
  'overrides': text(),
  'chosen_share': real(0, 1, above=True),
  'chosen_from': _COUNT,
  'evaluation.split': choice('validation', 'test'),
  'evaluation.step': text(),
  'evaluation.num_scenes': _COUNT,
  'evaluation.num_samples': _COUNT,
  'evaluation.num_draws': _COUNT,
  'evaluation.batch_size': _COUNT,
  'evaluation.seed': whole(0),
  'validation.num_scenes': _COUNT,
  'validation.num_samples': _COUNT,
  'validation.num_draws': _COUNT,
  'trials.num_steps': _COUNT,
  'trials.seed': whole(0),
  'trials.metric': text(),
  'curve.points': _COUNT,
  'curve.num_scenes': _COUNT,
  'curve.num_samples': _COUNT,
  'curve.num_draws': _COUNT,
}
_COMPARED = {
  'arguments': text(),
  'overrides': text(),
  'trials': several(text(), least=1),
}


def check(config: ConfigDict) -> None:
  """ValueError, one line, unless the fields of a run's config fit."""
  check_fields(config.to_dict())


def check_fields(fields: Mapping[str, Any]) -> None:
  """The same of nested dicts, as config.json has them."""
  given = flatten(fields)
  if 'compared' in given:
    raise ValueError(
      'this is the config of an experiment of many runs, which compare.py and '
      'jump.py take; give that of one run, as configs/narratives.py'
    )
  table = rows(given)
  family = _family(given)
  # What says which fields there are comes first.
  for name in ('model.name', 'model.networks', 'data.protocol'):
    if name in table and name in given:
      check_value(name, given[name], table[name])
  for name in given:
    # Fields that another model or protocol has do no harm, but the networks
    # take none but theirs.
    if not name.startswith('model.'):
      known, where = table | _everywhere(), ''
    elif family in MODELS:
      known, where = table, f' of {family} networks'
    else:
      continue
    if name not in known:
      raise ValueError(unknown(name, given[name], known, where))
  _check_rows(given, table)
  for name in table:
    stem, _, last = name.rpartition('.')
    if last == 'values':
      counts = [len(given[f'{stem}.{end}']) for end in ('boundaries', last)]
      if counts[0] != counts[1]:
        raise ValueError(
          f'{name} is {shown(given[name])}; it must be {counts[0]} values, one '
          f'for each of {stem}.boundaries, '
          f'{shown(given[f"{stem}.boundaries"])}'
        )


def check_experiment(config: ConfigDict) -> None:
  """ValueError, one line, unless the fields of an experiment fit."""
  given = flatten(config.to_dict())
  if 'compared' not in given:
    raise ValueError(
      '--config is of one run, which is no experiment; give '
      'configs/comparison.py or configs/dice_comparison.py'
    )
  table = dict(EXPERIMENT)
  for name in config.get('models', {}):
    table |= {f'models.{name}.{k}': row for k, row in _COMPARED.items()}
  for name in given:
    if name not in table:
      raise ValueError(unknown(name, given[name], table))
  _check_rows(given, table)


def _check_rows(given: Mapping[str, Any], table: Mapping[str, Field]) -> None:
  for name, row in table.items():
    if name not in given:
      raise ValueError(
        f'the field {name} is missing; it must be {row.allowed} (fields of '
        "models and protocols come with a config file's arguments, as "
        'configs/narratives.py:model=sv2p)'
      )
    check_value(name, given[name], row)


def check_value(name: str, value: Any, row: Field | None = None) -> None:
  """ValueError, one line, unless this field may be that."""
  row = row or RUN[name]
  if not row.fits(value):
    raise ValueError(f'{name} is {shown(value)}; it must be {row.allowed}')


def rows(given: Mapping[str, Any]) -> dict[str, Field]:
  """The rows of a run, by what its flat fields say of model and protocol."""
  protocol = given.get('data.protocol')
  found = RUN | MODELS.get(_family(given), {})
  return found | (PROTOCOLS.get(protocol, {}) if _is_text(protocol) else {})


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Nested fields, those that older runs lack set to what these did."""
  given, result = flatten(fields), dict(fields)
  for name, row in rows(given).items():
    group, _, last = name.rpartition('.')
    if name in given or row.absent is REQUIRED:
      continue
    # What stands there wrongly stays, for `check_fields` to name.
    if not group:
      result = {name: row.absent} | result
    elif isinstance(result.get(group), Mapping):
      result[group] = {last: row.absent} | dict(result[group])
  return result


def flatten(fields: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested dicts -> their leaves by dotted names."""
  flat: dict[str, Any] = {}
  for key, value in fields.items():
    if isinstance(value, Mapping) and value:
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat


def unknown(
  name: str, value: Any, known: Mapping[str, Any], where: str = ''
) -> str:
  """The line about a field that is not in the table."""
  if any(field.startswith(f'{name}.') for field in known):
    return f'{name} is {shown(value)}; it must be fields, as {name}.<field>'
  spelt = name if name.isprintable() else repr(name)
  return f'there is no field {spelt}{where}{nearest(name, known)}'


def nearest(name: str, known: Mapping[str, Any]) -> str:
  """'; the nearest is ...', or nothing where none is near."""
  name = name.replace('-', '_')
  groups = {field.rpartition('.')[0] for field in known} - {''}
  near = difflib.get_close_matches(name, [*known, *groups], 1)
  if not near:  # it may stand in another group
    ends = {field.rpartition('.')[2]: field for field in known}
    last = name.rpartition('.')[2]
    near = [ends[end] for end in difflib.get_close_matches(last, ends, 1)]
  return f'; the nearest is {near[0]}' if near else ''


def shown(value: Any) -> str:
  """A value in an error, however long."""
  words = repr(tuple(value) if isinstance(value, list) else value)
  return words if len(words) <= 80 else f'{words[:77]}...'


def allowed(name: str) -> str | None:
  """What a field may be, in words, whatever model it is of."""
  row = (_everywhere() | EXPERIMENT).get(name)
  return row.allowed if row else None


def _everywhere() -> dict[str, Field]:
  """The rows of all models and protocols."""
  found = dict(RUN)
  for part in (*MODELS.values(), *PROTOCOLS.values()):
    found |= part
  return found


def _family(given: Mapping[str, Any]) -> str:
  """The name of the model's rows in MODELS; '' where it is no text."""
  name = given.get('model.name')
  if name in ('cgqn', 'gqn'):
    name = given.get('model.networks', 'draw')
    # One that there is not has the rows of 'draw', which say so.
    name = name if _is_text(name) and name in MODELS else 'draw'
  return name if _is_text(name) else ''


def _is_text(value: Any) -> bool:
  return isinstance(value, str)
