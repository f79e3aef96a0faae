"""The notebooks, run and compared with what is stored; `python -m tests.notebooks` stores them anew."""
