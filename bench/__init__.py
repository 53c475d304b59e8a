"""Speed side by side: `pytest bench`, `python -m bench.rivals`, `python -m bench.report`."""
