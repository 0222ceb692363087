"""The explorer's page in a browser, as a person uses it.

Needs `pip install -e .[browser]` and a Chromium: Debian's, or that of
`playwright install chromium`. CGQN_JAX_SCREENSHOTS=folder keeps its pictures.
"""

import os
import pathlib
import shutil
import time

import numpy as np
from PIL import Image
import pytest

from cgqn_jax.figures import explorer
from cgqn_jax.figures.explorer import Drawn

pytestmark = pytest.mark.slow
_NAMES = ('chromium', 'chromium-browser', 'google-chrome')
SAMPLES, TIMES, SIZE = 12, 9, 16
SCENES = 3
SCREENS = [
  (width, scheme) for width in (1280, 390) for scheme in ('light', 'dark')
]


def make_scene(seed):
  """Samples that agree until frame 4 and differ from then on."""
  rng = np.random.default_rng(seed)
  truth = rng.integers(0, 256, (TIMES, SIZE, SIZE, 3), np.uint8)
  samples = np.repeat(truth[None], SAMPLES, 0)
  samples[:, 4:] = rng.integers(0, 256, samples[:, 4:].shape)
  samples[2, 4:] = truth[4:] // 2
  return Drawn(
    label=str(seed),
    samples=samples,
    truth=truth,
    names=[f'F{i + 1}' for i in range(TIMES)],
    texts=[f'frame {i + 1} of {TIMES}' for i in range(TIMES)],
    hidden=~np.isin(np.arange(TIMES), [0, 3]),
    context=truth[[0, 3]],
    seen=['F1', 'F4'],
    places=np.array([0.0, 3.0]),
    cameras=None,
  )


def with_cameras(scene):
  angle = 2 * np.pi * np.arange(TIMES) / TIMES
  asked = np.column_stack(
    [np.cos(angle), np.sin(angle), -np.cos(angle), -np.sin(angle)]
  )
  return scene._replace(cameras=np.concatenate([asked[[0, 3]], asked]))


@pytest.fixture(scope='module')
def browser():
  playwright = pytest.importorskip(
    'playwright.sync_api', reason='no Playwright: pip install -e .[browser]'
  )
  with playwright.sync_playwright() as started:
    own = pathlib.Path(started.chromium.executable_path)
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if not found and not own.exists():
      pytest.skip('no Chromium: apt install chromium')
    # A sandbox needs rights that containers do not give.
    chromium = started.chromium.launch(
      executable_path=found, args=['--no-sandbox']
    )
    yield chromium
    chromium.close()


@pytest.fixture(scope='module')
def scenes():
  return [make_scene(seed) for seed in range(SCENES)]


@pytest.fixture
def opened(browser, scenes, tmp_path):
  """Opens a page of them; nothing may be fetched from elsewhere, or fail."""
  contexts, complaints = [], []

  def open_page(width=1280, scheme='light', shown=None, axis=explorer.TIME):
    path = tmp_path / 'page.html'
    made = explorer.page(
      shown or scenes,
      title='A page',
      axis=axis,
      protocol={'Seen': 'F1, F4', 'Seed': '0'},
    )
    path.write_text(made, 'utf-8')
    context = browser.new_context(
      viewport={'width': width, 'height': 850}, color_scheme=scheme
    )
    contexts.append(context)
    page = context.new_page()
    page.on(
      'console',
      lambda message: (
        message.type == 'error' and complaints.append(message.text)
      ),
    )
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on(
      'request',
      lambda request: (
        request.url.startswith(('data:', 'file:'))
        or complaints.append(request.url)
      ),
    )
    page.goto(path.as_uri())
    page.wait_for_selector('#samples input')
    return page

  yield open_page
  for context in contexts:
    context.close()
  assert complaints == []


def wait(page, condition):
  """Not by Playwright, which the page's policy lets evaluate no text."""
  for _ in range(200):
    if page.evaluate(f'Boolean({condition})'):
      return
    time.sleep(0.05)
  raise AssertionError(f'never {condition}')


def pixels(page, canvas):
  """What a canvas holds: [H, W, 3] bytes."""
  flat = page.eval_on_selector(
    canvas,
    """canvas => Array.from(canvas.getContext('2d').getImageData(
         0, 0, canvas.width, canvas.height).data)""",
  )
  return np.array(flat, np.uint8).reshape(SIZE, SIZE, 4)[..., :3]


def check_shown(page, scene, at, sample):
  np.testing.assert_array_equal(pixels(page, '#truth'), scene.truth[at])
  np.testing.assert_array_equal(
    pixels(page, '#drawn'), scene.samples[sample, at]
  )
  assert page.input_value('#at') == str(at)
  assert page.is_checked(f'#samples input[value="{sample}"]')
  assert page.inner_text('#sample-name') == f'Sample {sample + 1} of {SAMPLES}'
  assert page.inner_text('#here').startswith(scene.texts[at])
  assert ('seen by the model' in page.inner_text('#here')) == (at in (0, 3))


def test_all_frames_reach_the_screen(opened, scenes):
  page = opened()
  for number, scene in enumerate(scenes):
    page.select_option('#scene', str(number))
    wait(page, f'decoded[{number}] && state.scene === {number}')
    for at, sample in ((0, 0), (3, 1), (8, 3)):
      page.fill('#at', str(at))
      page.check(f'#samples input[value="{sample}"]')
      check_shown(page, scene, at, sample)
    seen = pixels(page, '#seen button:nth-child(2) canvas')
    np.testing.assert_array_equal(seen, scene.context[1])


def test_spread_and_errors(opened, scenes):
  page, scene = opened(), scenes[0]
  page.fill('#at', '2')
  assert page.inner_text('#facts dd') == '0.000'
  assert len(np.unique(pixels(page, '#spread').reshape(-1, 3), axis=0)) == 1
  page.fill('#at', '6')
  variance = np.var(scene.samples[:, 6] / 255, axis=0, ddof=1).mean(-1)
  spread, here, hidden, nearest = page.locator('#facts dd').all_inner_texts()
  assert spread == f'{np.sqrt(variance.mean()):.3f}'
  errors = np.square(scene.samples / 255 - scene.truth / 255).mean((2, 3, 4))
  assert here == f'{errors[0, 6] * 1e3:.2f}e-3'
  some = errors[:, scene.hidden].mean(-1)
  assert hidden == f'{some[0] * 1e3:.2f}e-3'
  assert nearest == f'sample {some.argmin() + 1}' == 'sample 3'
  # Lighter is more.
  light = pixels(page, '#spread').astype(float).sum(-1)
  order = np.argsort(variance.ravel())
  assert np.diff(light.ravel()[order]).min() >= -3
  most = np.var(scene.samples / 255, axis=0, ddof=1).mean(-1).max()
  assert page.inner_text('#most') == f'{np.sqrt(most):.2f}'


def test_keys(opened, scenes):
  page, scene = opened(), scenes[0]
  press = page.keyboard.press
  for _ in range(2):
    press('ArrowRight')
  press('Shift+ArrowRight')
  check_shown(page, scene, 2, 1)
  press('Home')
  press('ArrowLeft')  # a video has a beginning
  press('Shift+ArrowLeft')
  press('Shift+ArrowLeft')
  check_shown(page, scene, 0, SAMPLES - 1)
  press('End')
  check_shown(page, scene, 8, SAMPLES - 1)
  press('t')
  assert not page.is_checked('#show-truth')
  assert page.get_attribute('#truth', 'aria-label') == 'Truth, hidden'
  assert pixels(page, '#truth').max() == 0
  assert 'MSE' not in page.inner_text('#facts')
  press('t')
  press('n')
  wait(page, 'state.scene === 1 && decoded[1]')
  check_shown(page, scenes[1], 8, SAMPLES - 1)
  press('b')
  wait(page, 'state.scene === 0')
  press('p')
  wait(page, 'state.at === 1')
  press('p')
  assert page.get_attribute('#play', 'aria-pressed') == 'false'
  # Letters can be turned off, for those who speak to their browser.
  page.click('summary:has-text("Keys")')
  page.uncheck('#letters')
  press('t')
  assert page.is_checked('#show-truth')


def test_keyboard_alone_reaches_everything(opened):
  page = opened()
  reached = set()
  for _ in range(30):
    page.keyboard.press('Tab')
    reached.add(
      page.evaluate(
        'document.activeElement.id || document.activeElement.name || '
        'document.activeElement.innerText'
      )
    )
  wanted = {'scene', 'scene-back', 'scene-next', 'show-truth', 'sample-back',
            'sample-next', 'play', 'at', 'sample', 'F1', 'F4', 'Protocol',
            'Keys'}  # fmt: skip
  assert wanted <= reached
  page.focus('#samples input')
  page.keyboard.press('ArrowRight')
  assert page.inner_text('#sample-name') == f'Sample 2 of {SAMPLES}'
  assert page.input_value('#at') == '0'
  page.focus('#at')
  page.keyboard.press('ArrowRight')
  page.keyboard.press('End')
  page.keyboard.press('ArrowLeft')
  assert page.input_value('#at') == '7'


def test_pictures_are_dragged(opened):
  page = opened()
  box = page.locator('#drawn').bounding_box()
  y = box['y'] + 50
  page.mouse.move(box['x'] + 20, y)
  page.mouse.down()
  page.mouse.move(box['x'] + 20 + box['width'] / 2, y, steps=5)
  page.mouse.up()
  assert page.input_value('#at') == '4'
  page.mouse.move(box['x'] + 20, y)  # let go
  assert page.input_value('#at') == '4'
  page.click('#seen button:nth-child(2)')
  assert page.input_value('#at') == '3'


def test_rooms_turn_without_end(opened, scenes):
  page = opened(
    shown=[with_cameras(scene) for scene in scenes], axis=explorer.AZIMUTH
  )
  page.keyboard.press('ArrowLeft')
  assert page.input_value('#at') == str(TIMES - 1)
  page.keyboard.press('ArrowRight')
  assert page.input_value('#at') == '0'
  assert page.locator('#map path').count() == 3
  assert page.inner_text('#axis-name') == 'Azimuth'


@pytest.mark.parametrize(('width', 'scheme'), SCREENS)
def test_it_reads_well(opened, scenes, width, scheme, tmp_path):
  page = opened(width, scheme)
  page.fill('#at', '6')
  page.check(f'#samples input[value="{SAMPLES - 1}"]')
  # Nothing to scroll sideways, nothing that is cut off or too small to touch.
  assert page.evaluate('document.documentElement.scrollWidth') == width
  for control in page.locator('button, select, #at, #samples label').all():
    box = control.bounding_box()
    assert min(box['width'], box['height']) >= 24
    assert box['x'] >= 10 and box['x'] + box['width'] <= width - 10
  for name in ('#truth', '#drawn', '#spread'):
    box = page.locator(name).bounding_box()
    assert box['width'] == pytest.approx(box['height'], abs=1)
    assert box['width'] >= 8 * SIZE
    style = 'canvas => getComputedStyle(canvas).imageRendering'
    assert page.eval_on_selector(name, style) == 'pixelated'
  for name in ('h1', '#subtitle', '#here', '#marks span', '.protocol dt',
               '.facts p', '#sample-name'):  # fmt: skip
    assert contrast(page, name) >= 4.5, name
  folder = pathlib.Path(os.environ.get('CGQN_JAX_SCREENSHOTS', tmp_path))
  picture = folder / f'explorer_{width}_{scheme}.png'
  page.screenshot(path=picture, full_page=True)
  corner = np.asarray(Image.open(picture).convert('L'))[-5, 5]
  assert (corner < 60) == (scheme == 'dark')


def contrast(page, name):
  """Of a text to the page's background, as WCAG 2 counts it."""
  texts = page.eval_on_selector(
    name,
    """element => [getComputedStyle(element).color,
                   getComputedStyle(document.body).backgroundColor]""",
  )
  light = []
  for text in texts:
    channels = text[text.index('(') + 1 : -1].split(',')[:3]
    srgb = np.array([float(c) for c in channels]) / 255
    linear = np.where(
      srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4
    )
    light.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
  return max(light) / min(light)


def test_every_control_has_a_name(opened):
  page = opened()
  nameless = page.evaluate(
    """() => [...document.querySelectorAll(
        'button, input, select, canvas, svg')]
      .filter(x => !x.closest('[aria-hidden=true]') && x.checkVisibility())
      .filter(x => !(x.getAttribute('aria-label') || x.innerText
        || x.labels?.length))
      .map(x => x.outerHTML)
      .filter(x => !x.includes('<canvas width='))"""
  )
  assert nameless == []
  for name in ('#truth', '#drawn', '#spread'):
    assert page.get_attribute(name, 'aria-label')
  assert page.get_attribute('#at', 'aria-valuetext').startswith('frame 1 of')
