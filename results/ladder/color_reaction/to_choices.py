r"""Turns the numbers of Color Reaction's trained latent into choices.

  python results/ladder/color_reaction/to_choices.py V W
      reads the run V, whose latent is of numbers, and writes a run W, which
      --config.init_from of a run with latent=choices can begin from.

A trained latent of numbers tells the new color by one coordinate of its first
vector. The posterior's means of training scenes lie on this line in twelve
heaps with nothing between; what lies between, the prior draws all the same.
Here the middle of each heap becomes a code. What read the vector reads the
codes, to the same effect; a softmax regression on the features that told the
number gives the posterior's scores of the codes; the prior begins uniform. No
color is looked at.
"""

import sys

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import optax

import cgqn_jax
from cgqn_jax import config as config_lib
from cgqn_jax.data import batches, sources
from cgqn_jax.models import densities, residual
from cgqn_jax.models.build import Model, build
from cgqn_jax.training import checkpoints
from cgqn_jax.training.update import TrainState
from cgqn_jax.training.workdir import open_workdir
from cgqn_jax.types import Array, Batch, Categorical, Params

_SCENES = 4096  # of the training split
_HEAPS = 12
_UPDATES = 2000  # of the regression
_UNUSED = -6.0  # the prior's score of a code that no heap became

Dense = dict[str, np.ndarray]  # a dense layer's kernel and bias


def main(numbers: str, choices: str) -> None:
  """Converts the latest weights of one run to another run, at update 0."""
  model, params, config = cgqn_jax.load(numbers, 'latest')
  means, nats, features = _told(model, params, config)
  coordinate = int(nats[0].argmax())
  line = means[:, 0, coordinate]
  middles = _heaps(line)
  labels = np.abs(line[:, None] - middles).argmin(1)
  print(f'nats of each coordinate: {nats.round(2)}')
  print(f'heaps of {np.bincount(labels)} at {middles.round(1)}')
  vectors = np.tile(means.mean(0)[:, None], (1, _HEAPS, 1))
  vectors[0, :, coordinate] = middles

  config = config.copy_and_resolve_references().unlock()
  config_lib.choices(config)
  fresh = jax.tree.map(np.array, build(config).init(jax.random.key(0)))
  converted = _convert(params, fresh, vectors)
  latent = converted['latent']['choices']
  prior = latent['prior_codes_0']['Dense_0']['bias']
  latent['posterior_codes_0']['Dense_0'] = _regression(features, labels, prior)
  state = TrainState(**dict.fromkeys(TrainState._fields, {}))
  state = state._replace(
    step=np.int32(0), params=converted, ema_params=converted
  )
  workdir = open_workdir(choices, config)
  with checkpoints.Checkpoints(workdir / 'checkpoints') as saved:
    saved.save(state, wait=True)


def _told(
  model: Model, params: Params, config: ConfigDict
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """What the posterior tells of N scenes.

  Returns:
    Its means [N, K, G], their nats, a mean over scenes [K, G], and the features
    [N, F] that those of the first step are read off.
  """

  @jax.jit
  def tell(batch: Batch) -> tuple[Array, Array, Array]:
    masks = batch.context_mask, batch.target_mask
    # Training gives r' of the targets alone. The shipped weights were made with
    # r' of all frames, so it stays.
    both = jax.tree.map(
      lambda *x: jnp.concatenate(x, axis=1), batch.context, batch.target
    )
    r = model.encode(params, batch.context, masks[0])
    r_target = model.encode(params, both, jnp.concatenate(masks, axis=1))
    noise = model._noise(jax.random.split(jax.random.key(0), len(r)))
    (_, q, p), seen = model.networks.apply(
      {'params': params},
      r,
      r_target,
      noise,
      method='infer',
      capture_intermediates=lambda module, _: (
        module.name == 'posterior_blocks_0'
      ),
      mutable='intermediates',
    )
    (y,) = seen['intermediates']['latent']['posterior_blocks_0']['__call__']
    features = residual.pool(residual.normalize(y))
    return q.vector.mean, densities.kl(q.vector, p.vector), features

  source = sources.open_source(config, 'train')
  of_batches = [
    tell(jax.tree.map(jnp.asarray, batch))
    for batch in batches.test_batches(config, source, _SCENES, 64)
  ]
  means, nats, features = map(np.concatenate, zip(*of_batches, strict=True))
  return means, nats.mean(0), features


def _heaps(line: np.ndarray) -> np.ndarray:
  """Middles of the heaps of numbers, by k-means from as many quantiles."""
  middles = np.quantile(line, (np.arange(_HEAPS) + 0.5) / _HEAPS)
  for _ in range(100):
    nearest = np.abs(line[:, None] - middles).argmin(1)
    middles = np.array([line[nearest == i].mean() for i in range(_HEAPS)])
  return middles


def _convert(old: Params, new: Params, vectors: np.ndarray) -> Params:
  """Fresh parameters made to draw with codes what the old draw at vectors.

  Args:
    old: of a latent of numbers.
    new: of a latent of choices, otherwise the same networks.
    vectors: [K, heaps, G]; those of the second step say nothing.
  """
  was, latent, choices = old['latent'], new['latent'], new['latent']['choices']
  new['encoder'], new['renderer'] = old['encoder'], dict(old['renderer'])
  for name in 'start', 'places', 'evidence', 'evidence_block', 'last':
    latent[name] = dict(was[name])
  read = []  # of each step, what a code is read as, [codes, features]
  for k in range(2):
    for name in 'blocks', 'joins', 'posterior_blocks':
      choices[f'{name}_{k}'] = was[f'{name}_{k}']
    choices[f'competitions_{k}'] = was[f'choices_{k}']
    # A cell says nothing yet, and the prior's own blocks do nothing.
    for part in (
      choices[f'marks_{k}'],
      choices[f'chosen_{k}'],
      choices[f'code_blocks_{k}']['Conv_1'],
      choices[f'cell_blocks_{k}']['Conv_1'],
    ):
      part.update(jax.tree.map(np.zeros_like, part))
    codes = choices[f'posterior_codes_{k}']['Dense_0']['bias'].size
    said = _said(was[f'vector_codes_{k}']['Dense_0'], vectors[k])
    rest = np.tile(said.mean(0), (codes - len(said), 1))
    # A code is told by features whose mean square is 1.
    read.append(np.concatenate([said, rest]) / codes**0.5)
    inputs, picture = was[f'vector_inputs_{k}'], choices[f'pictures_{k}']
    cells = picture['Dense_0']['bias'].size // inputs['bias'].size
    picture['Dense_0'] = {
      'kernel': np.tile(read[k] @ inputs['kernel'], (1, cells)),
      'bias': np.tile(inputs['bias'], cells),
    }
  choices['prior_codes_0']['Dense_0']['bias'][_HEAPS:] = _UNUSED

  def reader(dense: Dense) -> Dense:
    parts = np.split(np.asarray(dense['kernel']), 2)
    rows = [codes @ part for codes, part in zip(read, parts, strict=True)]
    return dense | {'kernel': np.concatenate(rows)}

  for name in 'Modulation_0', 'Modulation_1':
    dense = was['last'][name]['Dense_0']
    latent['last'][name] = {'Dense_0': reader(dense)}
  new['renderer']['Dense_0'] = reader(old['renderer']['Dense_0'])
  return new


def _said(dense: Dense, vectors: np.ndarray) -> np.ndarray:
  """The codes of vectors [N, G], as `residual.Codes` has them: [N, C]."""
  codes = residual.Codes(len(dense['bias']) // residual.Codes.heads)
  return np.asarray(codes.apply({'params': {'Dense_0': dense}}, vectors))


def _regression(
  features: np.ndarray, labels: np.ndarray, prior: np.ndarray
) -> Dense:
  """A layer whose scores name the heaps, given the prior's of each code."""
  held = len(labels) // 8  # scenes kept apart, to see whether it holds
  middle, size = features[held:].mean(0), features[held:].std(0) + 0.05
  standard = (features - middle) / size

  def logits(dense: Dense, x: Array) -> Array:
    scores = x @ dense['kernel'] + dense['bias']
    return residual._rescored(Categorical(prior), scores).logits

  @jax.grad
  def gradient(dense: Dense) -> Array:
    each = optax.losses.softmax_cross_entropy_with_integer_labels(
      logits(dense, standard[held:]), labels[held:]
    )
    # Of small weights: what features are will change a little in training.
    return each.mean() + 1e-3 * jnp.sum(dense['kernel'] ** 2)

  optimizer = optax.adam(optax.cosine_decay_schedule(0.01, _UPDATES))

  def update(_: Array, trained: tuple[Dense, optax.OptState]) -> tuple:
    dense, state = trained
    updates, state = optimizer.update(gradient(dense), state)
    return optax.apply_updates(dense, updates), state

  shape = features.shape[1], prior.size
  dense = {'kernel': jnp.zeros(shape), 'bias': jnp.zeros(prior.size)}
  start = dense, optimizer.init(dense)
  dense, _ = jax.lax.fori_loop(0, _UPDATES, update, start)
  for name, part in ('fitted', slice(held, None)), ('held', slice(held)):
    right = logits(dense, standard[part]).argmax(1) == labels[part]
    print(f'{name}: {np.mean(right):.3f} right')
  kernel = np.asarray(dense['kernel']) / size[:, None]
  return {'kernel': kernel, 'bias': np.asarray(dense['bias']) - middle @ kernel}


if __name__ == '__main__':
  main(*sys.argv[1:])
