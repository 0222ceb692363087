"""Installs cgqn_jax; `datasets/` stays out, as a folder of TFDS packages."""

import pathlib

from setuptools import find_packages, setup

README = pathlib.Path(__file__).parent / 'README.md'

setup(
  name='cgqn_jax',
  version='0.2.0',
  description=(
    'Consistent generative query networks in JAX: sample any frames of a '
    'scene from any others, in one jump.'
  ),
  long_description=README.read_text('utf-8') if README.exists() else '',
  long_description_content_type='text/markdown',
  author='The cgqn_jax authors',
  license='Apache-2.0',
  packages=find_packages(include=['cgqn_jax', 'cgqn_jax.*']),
  package_data={
    'cgqn_jax': ['weights/**/*', '**/*.png', '**/*.html', '**/DIGITS.md']
  },
  python_requires='>=3.11',
  # Every pin is a lower bound, except Orbax's: version 1 is another library.
  install_requires=[
    'absl-py>=2.1',
    'array-record>=0.5.1',
    'chex>=0.1.90',
    'flax>=0.12',
    'google-crc32c>=1.5',
    'grain>=0.2.3',
    # tensorflow-datasets imports it without asking for it.
    'importlib_resources>=6',
    # From jax 0.11 on Python 3.12 is asked for; pip picks what fits.
    'jax>=0.7.1',
    'jaxlib>=0.7.1',
    'matplotlib>=3.8',
    'ml-collections>=1.0',
    'numpy>=2.0',
    'optax>=0.2.7',
    'orbax-checkpoint>=0.11.25,<1',
    'pillow>=10.1',
    'scipy>=1.11',
    'tensorboardX>=2.6.2',
    'tensorflow-datasets>=4.9.9',
    'tqdm>=4.66',
  ],
  extras_require={
    # Tests of experiments/explore.py's page, in a Chromium that is there.
    'browser': ['playwright>=1.40'],
    # Only the stock `tfds build` and its pipelines need these.
    'tf': ['apache-beam>=2.60', 'mlcroissant>=1.0', 'tensorflow-cpu>=2.18'],
  },
  classifiers=[
    'Programming Language :: Python :: 3',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
