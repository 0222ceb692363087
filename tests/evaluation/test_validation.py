"""What training shows of held-out scenes."""

import jax
import numpy as np

from cgqn_jax.data import batches
from cgqn_jax.data.sources import open_source
from cgqn_jax.evaluation import sampling, validation
from cgqn_jax.evaluation.validation import Validation
from cgqn_jax.models.build import build


def test_best_of_is_that_of_the_tables(make_config, make_params):
  """Over 6 scenes in batches of 8: what fills the batch up counts nothing."""
  config = make_config()
  config.validation_scenes = 6
  config.validation_best_of = 3
  model = build(config)
  params = make_params(model)
  notes = Validation(model, config).best_of(params, seed=5)
  (batch,) = batches.test_batches(
    config, open_source(config, 'validation'), 6, 6
  )
  drawn = sampling.draw_samples(model, params, jax.random.key(5), batch, 3)
  errors = drawn.errors.mean(-1)
  assert notes.keys() == {'best_of_3', 'mean_of_samples'}
  np.testing.assert_allclose(notes['best_of_3'], errors.min(0).mean(), 1e-5)
  np.testing.assert_allclose(notes['mean_of_samples'], errors.mean(), 1e-5)
  assert notes['best_of_3'] < 0.999 * notes['mean_of_samples']
  config.validation_best_of = 0
  assert Validation(model, config).best_of(params, seed=5) == {}


def test_the_posterior_s_row_is_of_what_it_sees(
  make_config, make_params, monkeypatch
):
  """Blank elsewhere: the model was asked for nothing there."""
  config = make_config()
  model = build(config)
  drawn = {}

  def sheet(frames, *_, context, **__):
    drawn.update(frames=frames, seen=context)
    return np.zeros((1, 1, 3), np.uint8)

  monkeypatch.setattr(validation.images, 'sheet', sheet)
  Validation(model, config).picture(make_params(model), seed=5)
  blank = np.isnan(drawn['frames']).all((2, 3, 4))
  truth, posterior, prior = blank[0::4], blank[1::4], blank[2::4]
  np.testing.assert_array_equal(posterior, ~drawn['seen'][1::4])
  assert posterior.sum() > truth.sum() and not prior.all(1).any()


def test_strips_show_what_was_context(make_config, make_params):
  """A column a frame; orange round the context and what the posterior sees."""
  config = make_config()
  model = build(config)
  picture = Validation(model, config).picture(make_params(model), seed=5)
  size = config.data.frame_size
  scale = -(-96 // size)
  orange = (picture == np.uint8((235, 125, 0))).all(-1)
  # Borders of 3 pixels round each frame of context, in the rows of truth.
  ring = (size * scale + 6) ** 2 - (size * scale) ** 2
  (batch,) = batches.test_batches(
    config, open_source(config, 'validation'), 6, 6
  )
  hidden = batch.target.views.shape[1]
  shown = range(0, hidden, max(1, hidden // 8))
  seen = np.linspace(0, hidden - 1, config.data.num_targets).astype(int)
  told = int(batch.context_mask[0].sum()) + len(set(seen) & set(shown))
  assert orange.sum() == 6 * told * ring
  # Names of frames stand above.
  top = np.flatnonzero(orange.any(1))[0]
  assert top > 10 and (picture[:top].max(-1) < 100).sum() > 20 * len(shown)
