"""A diamond with a second root, on three days: `python -m examples.diamond`."""
