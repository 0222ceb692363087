"""The pages of docs/ do what they say: `make test-docs`."""

import pytest

from tests.experiments import pages

# Their blocks are files and signatures, or read files of one's own: each of
# these pages has a test that makes them. Those of reliability.md are tests.
OTHERS = (
  'api.md',
  'extending.md',
  'own_data.md',
  'own_rooms.md',
  'reliability.md',
)
PAGES = [
  page.name
  for page in sorted((pages.ROOT / 'docs').glob('*.md'))
  if page.name not in OTHERS and pages.blocks(page)
]


@pytest.mark.docs
@pytest.mark.parametrize('name', PAGES)
def test_every_command_in_its_order(name, programs, tmp_path):
  page = pages.ROOT / 'docs' / name
  assert pages.play(page, tmp_path, programs) > 0
