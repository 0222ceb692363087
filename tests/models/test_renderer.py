"""What the renderer starts from: a black frame, and a sketch if it may."""

import jax
import numpy as np
import pytest

from cgqn_jax.models.build import build
from cgqn_jax.models.renderer import Sketch

KEY = jax.random.key(7)


@pytest.mark.parametrize('context', [False, True])
def test_before_training_all_frames_are_black(make_config, make_batch, context):
  batch = make_batch()
  model = build(make_config(renderer_sees_context=context))

  @jax.jit
  def start(key):
    return model.sample(
      model.init(key),
      key,
      batch.context,
      batch.context_mask,
      batch.target.views,
    )

  assert not np.any(start(KEY))


@pytest.mark.parametrize('gains', [False, True])
def test_sketch(gains):
  """One hidden layer of context, latent and viewpoint, cell by cell."""
  rng = np.random.default_rng(0)
  r, z, views = (
    rng.standard_normal(shape).astype(np.float32)
    for shape in ((2, 4, 4, 5), (2, 2, 2, 3), (2, 6, 4))
  )
  sketch = Sketch(features=7, stride=2, view_gains=gains)
  params = sketch.init(KEY, r, z, views)['params']
  canvas = np.asarray(sketch.apply({'params': params}, r, z, views))
  assert canvas.shape == (2, 6, 4, 4, 7)

  p = jax.tree.map(np.asarray, params)
  padded = np.pad(r[1], ((1, 1), (1, 1), (0, 0)))
  y, x, t = 3, 1, 4
  hidden = np.einsum(
    'ijc,ijco->o', padded[y : y + 3, x : x + 3], p['context']['kernel']
  )
  latent = (z[1] @ p['latent']['kernel']).reshape((2, 2, 2, 2, 28))
  hidden += latent[y // 2, x // 2, y % 2, x % 2]
  assert ('view_gains' in p) == gains
  if gains:
    layer = p['view_gains']
    hidden *= 1 + views[1, t] @ layer['kernel'] + layer['bias']
  hidden += views[1, t] @ p['view']['kernel']
  expected = np.maximum(hidden, 0) @ p['output']['kernel']
  np.testing.assert_allclose(canvas[1, t, y, x], expected, rtol=1e-4, atol=1e-5)
