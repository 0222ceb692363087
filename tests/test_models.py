"""Models by name: their sizes, and configs that make none."""

import jax
import pytest

from cgqn_jax import models
from configs import narratives


@pytest.mark.parametrize(
  ('fields', 'count'),
  [
    ({}, 3_963_815),
    ({'posterior_sees_prior': False, 'z_per_step': True}, 3_496_615),
    ({'posterior_sees_prior': False}, 3_554_215),
    ({'z_per_step': True}, 3_906_215),
    (
      dict(nf_to_hidden=32, nf_enc=64, nf_to_obs=64, nf_dec=32),
      1_051_207,
    ),
    (
      dict(nf_to_hidden=96, nf_enc=192, nf_to_obs=192, nf_dec=96),
      8_752_391,
    ),
  ],
)
def test_number_of_parameters(fields, count):
  config = narratives.get_config()
  config.model.update(fields)
  model = models.build(config)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'model.name': 'gan'}, "model.name is 'gan'"),
    ({'data.frame_size': 30}, 'data.frame_size is 30.* multiple of 8'),
    ({'data.frame_size': 0}, 'data.frame_size is 0'),
    ({'model.stride_to_obs': 3}, 'model.stride_to_obs is 3'),
    ({'model.kernel': 4}, 'model.kernel is 4; it must be odd'),
    ({'model.encoder_widths': (8, 16)}, r'encoder_widths is \(8, 16\)'),
  ],
)
def test_errors_of_a_config(make_config, change, message):
  config = make_config()
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=message):
    models.build(config)
