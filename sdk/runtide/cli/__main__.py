"""`python -m runtide.cli`."""

from runtide.cli import main

main()
