"""The README does what it says, from its top to its end."""

from tests.experiments import pages


def test_every_command_in_its_order(programs, tmp_path):
  page = pages.ROOT / 'README.md'
  assert pages.play(page, tmp_path, programs) > 9
  assert (tmp_path / 'W' / 'eval' / 'metrics.json').exists()
