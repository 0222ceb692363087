"""What a page of the explorer holds, read as a browser would."""

import base64
import io
import json
import re

import numpy as np
from PIL import Image


def read_page(page: str) -> dict:
  """The data in a page."""
  (text,) = re.findall(r'id="data">(.*?)</script>', page, re.S)
  return json.loads(text)


def frames_of(data: dict, scene: dict) -> tuple[np.ndarray | None, np.ndarray]:
  """Truth [T, H, W, 3] and samples [S, T, H, W, 3] of a scene, in bytes."""
  rows = _frames(scene['frames'], data['size'])
  return (rows[0], rows[1:]) if scene['truth'] else (None, rows)


def context_of(data: dict, scene: dict) -> np.ndarray:
  """What the model saw: [C, H, W, 3] bytes."""
  (row,) = _frames(scene['context'], data['size'])
  return row


def _frames(uri: str, size: list[int]) -> np.ndarray:
  head, body = uri.split(',')
  assert head == 'data:image/png;base64'
  sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))
  (high, wide), (height, width) = sheet.shape[:2], size
  cells = sheet.reshape(high // height, height, wide // width, width, 3)
  return cells.swapaxes(1, 2)
