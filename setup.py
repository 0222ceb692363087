"""Installs cgqn_jax, with its programs, configs and builders of datasets.

In a wheel these lie inside of the package, as they lie beside it in a clone
(cgqn_jax/shipped.py); each program is a command there, as cgqn-train.
"""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
# Without __init__.py, so that a clone's `datasets` hides no other package.
SHIPPED = (
  'configs',
  'datasets',
  *(f'datasets/{path.parent.name}' for path in ROOT.glob('datasets/*/*.py')),
  'experiments',
)
PROGRAMS = sorted([p.stem for p in ROOT.glob('experiments/*.py')] + ['build'])


def requirements() -> list[str]:
  """What requirements.txt lists first."""
  text = (ROOT / 'requirements.txt').read_text('utf-8')
  return [line for line in text.split('\n\n')[0].splitlines() if line[0] != '#']


def version() -> str:
  """That of the package, which cannot be imported yet."""
  text = (ROOT / 'cgqn_jax' / '__init__.py').read_text('utf-8')
  return re.search(r"^__version__ = '(.*)'$", text, re.M)[1]


setup(
  name='cgqn_jax',
  version=version(),
  description=(
    'Consistent generative query networks in JAX: sample any frames of a '
    'scene from any others, in one jump.'
  ),
  long_description=(ROOT / 'README.md').read_text('utf-8'),
  long_description_content_type='text/markdown',
  author='The cgqn_jax authors',
  license='Apache-2.0',
  packages=[
    *find_packages(include=['cgqn_jax', 'cgqn_jax.*']),
    *(f'cgqn_jax.{folder.replace("/", ".")}' for folder in SHIPPED),
  ],
  package_dir={
    f'cgqn_jax.{folder.replace("/", ".")}': folder for folder in SHIPPED
  },
  package_data={
    'cgqn_jax': ['weights/**/*', '**/*.png', '**/*.html', '**/DIGITS.md'],
    # TFDS reads these beside a builder.
    'cgqn_jax.datasets': ['*/*.md', '*/*.bib', '*/*.tsv', '*/*.txt'],
  },
  entry_points={
    'console_scripts': [
      f'cgqn-{name.replace("_", "-")} = cgqn_jax.shipped:main'
      for name in PROGRAMS
    ]
  },
  python_requires='>=3.11',
  install_requires=requirements(),
  extras_require={
    # Tests of experiments/explore.py's page, in a Chromium that is there.
    'browser': ['playwright>=1.40'],
    # docs/tour.ipynb, and its test.
    'notebook': ['ipykernel>=6', 'nbclient>=0.10', 'nbformat>=5.7'],
    # Only the stock `tfds build` and its pipelines need these.
    'tf': ['apache-beam>=2.60', 'mlcroissant>=1.0', 'tensorflow-cpu>=2.18'],
    # MP4 and the like, read and written.
    'video': ['imageio-ffmpeg>=0.5'],
  },
  classifiers=[
    'Programming Language :: Python :: 3',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
