"""What a page prints, typed in its order by somebody who has no time.

Every command and every piece of Python in a page's blocks runs as it stands
there, from the top of the page to its end, in one folder that looks like a
clone. Only this differs, so that it takes seconds:

* a config's preset is `smoke`, with the tiny networks of the other tests;
* `SHORT` is appended to a program's flags;
* a dataset is its small sister, `_32_tiny`;
* of `make` it is asked what it would do, and `LOOKED_AT` is not run at all.
"""

from collections.abc import Callable
import pathlib
import re
import shlex
import shutil
import subprocess

from tests.experiments.conftest import RESIDUAL, ROOT, TINY

# Installs, waits for a person, or asks a cluster.
LOOKED_AT = ('cd', 'git', 'pip', 'sbatch', 'tensorboard')
# Appended to the flags of a program; train.py gets those of all tests.
SHORT = {
  'sample.py': ['--num_samples=2'],
  'evaluate.py': [
    '--num_scenes=2', '--num_samples=2', '--num_draws=1', '--batch_size=2',
  ],
  'compare.py': [
    '--config.num_steps=2', '--config.compared=cgqn', '--config.seeds=(0,)',
    '--config.final_variances=(0.9,)', '--config.curve.points=1',
  ],
  'figures.py': [],
  'jump.py': ['--config.compared=cgqn,sssm', '--frames=6,8,12', '--repeats=6'],
  'build.py': ['--workers=1'],
}  # fmt: skip
# Whoever gives these reads data of their own.
_OWN = ('config.data.source', 'config.data.frame_size')


def blocks(page: pathlib.Path) -> list[tuple[str, str]]:
  """The code blocks of a page: the language that it names, and the text."""
  return re.findall(
    r'^```(\w*)\n(.*?)^```$', page.read_text('utf-8'), re.M | re.S
  )


def commands(text: str) -> list[list[str]]:
  """The words of each command in a block."""
  lines = text.replace('\\\n', ' ').splitlines()
  words = [shlex.split(line, comments=True) for line in lines]
  return [line for line in words if line]


def shortened(words: list[str]) -> list[str]:
  """A program and its flags, with settings of the smoke test."""
  program = pathlib.Path(words[0]).name
  flags = [_smaller(word, program) for word in words[1:]]
  if program != 'train.py':
    return [words[0], *flags, *SHORT[program]]
  residual = any('networks=residual' in flag for flag in flags)
  short = (RESIDUAL if residual else TINY)[1:]
  given = {flag[2:].partition('=')[0] for flag in flags}
  added = {flag[2:].partition('=')[0]: flag for flag in short}
  return [
    words[0],
    *flags,
    *(f for name, f in added.items() if name not in given or name not in _OWN),
  ]


def _smaller(word: str, program: str) -> str:
  """A flag, with the preset `smoke` or the small dataset in it."""
  flag, equals, value = word.partition('=')
  if flag != '--config' or not equals:
    return word
  if program == 'build.py':
    stem = value.removesuffix('_tiny').removesuffix('_32')
    return f'--config={stem}_32_tiny'
  file, *rest = value.split(':')
  arguments = [x for x in ''.join(rest).split(',') if x[:7] != 'preset=']
  joined = ','.join(['preset=smoke', *filter(None, arguments)])
  return f'--config={file}:{joined}'


def play(page: pathlib.Path, folder: pathlib.Path, programs: Callable) -> int:
  """Runs all that a page prints in a folder; returns how much that was.

  programs: the fixture of that name.
  """
  for path in ROOT.iterdir():
    if path.name[0] != '.' and path.name not in ('docs', 'runs'):
      (folder / path.name).symlink_to(path)
  shutil.copytree(ROOT / 'docs', folder / 'docs')  # pages write there
  printed, asked = [], []
  for language, text in blocks(page):
    if language == 'python':
      script = folder / f'block_{len(printed)}.py'
      script.write_text(text)
      printed.append(([str(script)], text))
    elif not language:
      for words in commands(text):
        if words[0] == 'python':
          printed.append((shortened(words[1:]), shlex.join(words)))
        elif words[0] == 'make':
          asked.append(words)
        else:
          assert words[0] in LOOKED_AT, f'{page}: {shlex.join(words)}'
  for words in asked:
    done = subprocess.run(
      ['make', '-n', *words[1:]], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, f'{page}: {words}\n{done.stderr}'
  done = programs([command for command, _ in printed], folder)
  for ran, (command, text) in zip(done, printed, strict=True):
    assert ran.code == 0, f'{page}: {text}\nran as {command}\n{ran.err}'
  return len(printed) + len(asked)
