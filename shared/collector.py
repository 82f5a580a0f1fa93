"""Python's cyclic garbage collector, set for a process that makes many short-lived objects a second."""

import gc


def calm() -> None:
    """Keep what the start made out of every later collection, and collect after 100,000 new objects, not 700.

    Two batches of messages in hand are some tens of thousands of objects that end with them, without cycles; at the
    defaults a third of the time of a consumer went into looking at them, and at everything that was imported, and at
    10,000 still a fifteenth.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
