"""Speed side by side: `pytest bench` and `python -m bench.rivals`, then `report` and `plot`."""
