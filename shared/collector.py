"""Python's cyclic garbage collector, set for a process that makes many short-lived objects a second."""

import gc


def calm() -> None:
    """Keep what the start made out of every later collection, and collect after ten thousand new objects, not 700.

    A batch of messages allocates thousands of objects that end with it, without cycles; at the defaults a third of the
    time of a consumer went into looking at them, and at everything that was imported.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
