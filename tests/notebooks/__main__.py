"""Store the outputs of every notebook anew: `python -m tests.notebooks`."""

from tests.notebooks.execution import NOTEBOOKS, store

for notebook in NOTEBOOKS:
    store(notebook)
