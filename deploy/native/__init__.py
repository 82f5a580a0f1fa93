"""The stack without Docker: `python3 -m deploy.native up | down | restart | status | logs | reset | doctor`.

Standard library only, so that any Python 3.11 starts it on a bare machine. `parts.py` is the one table of what runs.
"""
