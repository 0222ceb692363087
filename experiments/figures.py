r"""Draws the paper's figures from an experiment's folder, numbers beside them.

  python experiments/figures.py --runs=runs/dice_comparison --out=figures
  python experiments/figures.py --runs=runs/comparison --out=figures --only=5
  python experiments/figures.py --workdirs=cgqn=W,gqn=X --out=figures --only=7
  python experiments/figures.py --jump=runs/jump/jump.jsonl --out=figures

--runs is what experiments/compare.py made. Of dice: 7 (cameras and samples),
6 (and 8 to 10: negative ELBO over training, a panel per pixel-variance),
consistency (the table of KLs). Of videos: 3 (continuations), 4 (Color Reaction
forwards, backwards, both ways), 5 (errors over training). 3, 4 and 7 also take
single workdirs. jump (time and FLOPs to reach a frame) is of what
experiments/jump.py measured. Each figure is a picture, a PNG unless --formats
says otherwise (as pdf, or png,svg), and a JSON of the numbers in it.
--only=axes draws the axes of rooms, of no run.
"""

from collections.abc import Callable
import math
import pathlib
from typing import Any, NamedTuple

from absl import flags

from cgqn_jax import cli, files
from cgqn_jax.benchmark import jump
from cgqn_jax.comparison import dice_tables, results, runs, tables
from cgqn_jax.data import protocols, sources
from cgqn_jax.figures import axes as axes_lib
from cgqn_jax.figures import curves as curves_lib
from cgqn_jax.figures import jump as jump_lib
from cgqn_jax.figures import samples, style
from cgqn_jax.figures import scenes as scenes_lib
from cgqn_jax.training.workdir import find, read_workdir

_RUNS = cli.path_flag('runs', None, 'Folder of experiments/compare.py.')
_WORKDIRS = flags.DEFINE_list(
  'workdirs', None, 'Instead of --runs, as cgqn=W,gqn=X: name and folder.'
)
_JUMP = cli.path_flag('jump', None, 'File of experiments/jump.py.')
_OUT = cli.path_flag('out', None, 'Folder of the figures.')
_ONLY = flags.DEFINE_list(
  'only',
  None,
  'Of 3, 4, 5, 6, 7, consistency, jump, axes (of rooms; needs no run); by '
  'default all that apply.',
)
_VARIANCE = flags.DEFINE_float(
  'variance', None, 'Pixel-variance of the runs in figure 7; default: least.'
)
_SCENES = flags.DEFINE_string(
  'scenes', None, 'Of the test split, as 0,3,7 or 0:4.'
)
_NUM_SAMPLES = flags.DEFINE_integer(
  'num_samples', 4, 'Of each model in figure 7.', lower_bound=1
)
_SEED = cli.seed_flag('Of the samples.')
_SEM = flags.DEFINE_float(
  'sem', 2**0.5, 'Bars of figure 5, in standard errors of the mean.'
)
_FORMATS = flags.DEFINE_list(
  'formats', ['png'], f'Of the figures: any of {", ".join(style.FORMATS)}.'
)
_SOURCE = cli.source_flag(('tfds', 'simulator'))


def rows_of_runs() -> list[dict[str, Any]]:
  """The rows of --runs, one per run."""
  if not _RUNS.value:
    raise ValueError('it needs --runs, the folder of an experiment')
  return results.read_rows(_RUNS.value)


def curves_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
  """Their curves over training, by the names of the runs."""
  return {row['run']: runs.read_curve(_RUNS.value / row['run']) for row in rows}


def workdirs() -> dict[str, pathlib.Path]:
  """A workdir per model: --workdirs, else the best by validation loss."""
  if _WORKDIRS.value:
    pairs = [text.partition('=') for text in _WORKDIRS.value]
    for name, _, path in pairs:
      if not name or not path:
        raise ValueError(
          f'--workdirs={",".join(_WORKDIRS.value)}; give name=folder, as cgqn=W'
        )
    return {name: find(files.as_path(path)) for name, _, path in pairs}
  rows = rows_of_runs()
  if rows[0]['protocol_task'] == 'dice':  # which is compared by variance
    variances = sorted({row['variance'] for row in rows})
    variance = _VARIANCE.value or variances[0]
    if variance not in variances:
      raise ValueError(
        f'there are no runs at --variance={variance:g}; there are '
        f'{", ".join(f"{v:g}" for v in variances)}'
      )
    rows = [row for row in rows if row['variance'] == variance]
  groups = results.groups(results.choose(rows, 1e-9, 1))
  best = [row for group in groups.values() for row in group if row['chosen']]
  return {row['model']: _RUNS.value / row['run'] for row in best}


def load() -> dict[str, samples.Loaded]:
  """The models of these workdirs."""
  return samples.load(workdirs(), _SOURCE.value)


def scenes(default: str) -> list[int]:
  """What --scenes says."""
  return cli.parse_frames(_SCENES.value or default, 'scenes', 10**9)


def write(
  name: str, figure: Any, numbers: Any, text: str | None = None
) -> None:
  """Writes <out>/<name>.json, and the figure and .md where there are any."""
  path = _OUT.value / name
  if figure is None:
    print(f'wrote {path}.json')
  else:
    for kind in _FORMATS.value:
      style.save(figure, path.with_suffix(f'.{kind}'))
      print(f'wrote {path}.{kind}')
  files.write_json(path.with_suffix('.json'), numbers)
  if text is not None:
    files.replace_text(path.with_suffix('.md'), text + '\n')
    print(f'wrote {path}.md')


def figure_3() -> None:
  """F1 F6 | F11 F16 F21: truth, and two samples of each model."""
  indices = scenes('0,1')
  write('figure_3', *scenes_lib.continuations(load(), indices, _SEED.value))


def figure_4() -> None:
  """Color Reaction: truth; forwards; backwards; both ways at once."""
  indices, paths = scenes('0,1,2'), workdirs()
  # One model; the paper shows CGQN's.
  name = 'cgqn' if 'cgqn' in paths else next(iter(paths))
  loaded = samples.load({name: paths[name]}, _SOURCE.value)
  write('figure_4', *scenes_lib.reactions(loaded, indices, _SEED.value))


def figure_5() -> None:
  """Errors over training: all runs, and the best where there are enough."""
  rows = rows_of_runs()
  curves = curves_of(rows)
  best = [row for row in rows if row['chosen']]
  for kind in results.BUDGETS:
    suffix = '' if kind == 'updates' else f'_{kind.lower()}'
    figure, numbers = curves_lib.errors(rows, curves, kind, _SEM.value)
    write(f'figure_5a{suffix}', figure, numbers)
    if best:
      figure, numbers = curves_lib.errors(
        best, curves, kind, _SEM.value, best_of=len(rows)
      )
      write(f'figure_5b{suffix}', figure, numbers)
  for (_, name), group in results.groups(rows).items():
    if not any(row['chosen'] for row in group):
      print(f'figure 5b leaves {name} out: it has {len(group)} runs, too few')


def figure_6() -> None:
  """Negative ELBO over training, a panel per pixel-variance."""
  rows = rows_of_runs()
  write('figure_6', *curves_lib.bounds(rows, curves_of(rows)))


def figure_7() -> None:
  """Cameras from above beside truth and samples of the same queries."""
  indices = scenes('0,1,2')
  figure, numbers = scenes_lib.rooms(
    load(), indices, _NUM_SAMPLES.value, _SEED.value
  )
  write('figure_7', figure, numbers)


def consistency() -> None:
  """The table of KLs, in Markdown and JSON."""
  rows = rows_of_runs()
  text, summary = dice_tables.consistency_table(rows)
  protocol = tables.protocol(rows)
  numbers = {'protocol': protocol, 'variances': summary}
  write('consistency', None, numbers, f'{protocol}\n\n{text}')


def jumps() -> None:
  """Time and FLOPs to reach frame t, and whether the time grows with t."""
  if not _JUMP.value:
    raise ValueError('it needs --jump, the file of experiments/jump.py')
  rows = jump.load(_JUMP.value)
  write('jump', *jump_lib.draw(rows), jump_lib.tables(rows))


def axes() -> None:
  """The axes of rooms, of no run at all: the picture in docs/."""
  path = _OUT.value / 'axes.png'
  style.save(axes_lib.draw(), path)
  print(f'wrote {path}')


class Entry(NamedTuple):
  """A figure: how it is drawn, and of which task; None where of any."""

  draw: Callable[[], None]
  task: str | None
  narrative: str | None = None  # of this one alone
  needs_runs: bool = False  # and not single workdirs


FIGURES = {
  '3': Entry(figure_3, 'videos'),
  '4': Entry(figure_4, 'videos', 'color_reaction'),
  '5': Entry(figure_5, 'videos', needs_runs=True),
  '7': Entry(figure_7, 'dice'),
  '6': Entry(figure_6, 'dice', needs_runs=True),
  'consistency': Entry(consistency, 'dice', needs_runs=True),
  'jump': Entry(jumps, None),
  'axes': Entry(axes, None),
}


def applicable() -> list[str]:
  """The figures of this kind of data, and of this kind of file."""
  names = ['jump'] if _JUMP.value else []
  if _RUNS.value or _WORKDIRS.value:
    task, dataset = data()
    names += [
      name
      for name, entry in FIGURES.items()
      if entry.task == task
      and entry.narrative in (None, dataset.removeprefix('narratives/'))
      and (_RUNS.value or not entry.needs_runs)
    ]
  return names


def data() -> tuple[str, str]:
  """Task and dataset of the runs."""
  if _RUNS.value:
    row = rows_of_runs()[0]
    return row['protocol_task'], row['protocol_dataset']
  config = read_workdir(next(iter(workdirs().values())))
  return protocols.for_config(config).task, sources.dataset_name(config)


def draw(name: str) -> None:
  """Draws a figure; ValueError where it is of other data."""
  entry = FIGURES[name]
  if entry.task and (_RUNS.value or _WORKDIRS.value):
    task, _ = data()
    if entry.task != task:
      raise ValueError(f'it is of {entry.task}, and these runs of {task}')
  entry.draw()


def run() -> None:
  """Draws what was asked for; says what is missing and goes on."""
  given = _RUNS.value or _WORKDIRS.value or _JUMP.value
  if not given and _ONLY.value != ['axes']:
    raise ValueError(
      'give --runs, the folder of an experiment, or --workdirs=cgqn=W'
    )
  if not 0 < _SEM.value < math.inf:
    raise ValueError(f'--sem is {_SEM.value:g}; it must be above 0')
  for kind in _FORMATS.value:
    if kind not in style.FORMATS:
      raise ValueError(
        f'--formats={",".join(_FORMATS.value)}: there is no {kind!r}; use '
        f'{", ".join(style.FORMATS)}'
      )
  asked = _ONLY.value or applicable()
  for name in asked:
    if name not in FIGURES:
      raise ValueError(
        f'there is no figure {name!r}; there are {", ".join(FIGURES)}'
      )
  if _RUNS.value:
    path = _RUNS.value / 'comparison.json'
    remedy = 'compare.py --summary writes it anew'
    summary = files.read_json(path, remedy)
    with files.form_of(path, remedy):
      for name, state in summary['missing'].items():
        print(f'missing: {name}: {state}')
  files.try_folder(_OUT.value)
  failed = []
  for name in asked:
    try:
      draw(name)
    except ValueError as error:
      failed.append(f'figure {name} is left out: {error}')
      print(failed[-1])
  if len(failed) == len(asked):
    raise ValueError('nothing was drawn')


if __name__ == '__main__':
  cli.start(run, required=('out',))
