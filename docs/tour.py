"""Runs docs/tour.ipynb anew, python docs/tour.py: minutes.

Its extras: pip install -e .[notebook].
"""

import pathlib

import nbclient
import nbformat

PAGE = pathlib.Path(__file__).parent / 'tour.ipynb'


def executed() -> nbformat.NotebookNode:
  """The notebook with the outputs of today; raises what a cell raises."""
  notebook = nbformat.read(PAGE, as_version=4)
  nbclient.NotebookClient(
    notebook,
    timeout=3600,  # seconds of a cell
    record_timing=False,
    coalesce_streams=True,
    resources={'metadata': {'path': PAGE.parent}},
  ).execute()
  for cell in notebook.cells:
    for output in cell.get('outputs', []):
      output.get('data', {}).pop('image/jpeg', None)  # of the PNG beside it
  return notebook


if __name__ == '__main__':
  nbformat.write(executed(), PAGE)
  print(PAGE)
