"""Five small flows: prices `a`, their highest `b` and their mean `c`, an exchange rate `e`, and the report `d` of all.

Each reads what its upstreams left, and says what it made by the digest of its content: the same content is no change.
`story` is set by the deployment, and says whose upstreams these are.
"""

from typing import Any

from prefect import flow
from runtide.flow import RunReport, digest_of, report_run

from examples.quant.catalog import Catalog

Prices = dict[str, float | None]


class PriceMissing(ValueError):
    """A mean over prices that are not all there would be another number than it says."""

    code = "PRICE_MISSING"


@flow(name="diamond-a")
def a(story: str, prices: Prices, run_id: str | None = None) -> None:
    """The prices of the day; null where there is none."""
    with report_run(run_id) as run:
        leave(run, f"{story}-a", prices)


@flow(name="diamond-b")
def b(story: str, run_id: str | None = None) -> None:
    """The highest price."""
    with report_run(run_id) as run:
        prices: Prices = read(run, story, "a")
        leave(run, f"{story}-b", {"highest": max(price for price in prices.values() if price is not None)})


@flow(name="diamond-c")
def c(story: str, drop_missing: bool = False, run_id: str | None = None) -> None:
    """The mean price. Raises: PriceMissing, unless told to leave out what is missing."""
    with report_run(run_id) as run:
        prices: Prices = read(run, story, "a")
        missing = [name for name, price in prices.items() if price is None]
        if missing and not drop_missing:
            raise PriceMissing(f"no price of {', '.join(missing)}")
        known = [price for price in prices.values() if price is not None]
        leave(run, f"{story}-c", {"mean": sum(known) / len(known)})


@flow(name="diamond-e")
def e(story: str, rate: float, run_id: str | None = None) -> None:
    """The exchange rate."""
    with report_run(run_id) as run:
        leave(run, f"{story}-e", {"rate": rate})


@flow(name="diamond-d")
def d(story: str, run_id: str | None = None) -> None:
    """The report: highest and mean price, in the other currency."""
    with report_run(run_id) as run:
        prices = {**read(run, story, "b"), **read(run, story, "c")}
        rate = read(run, story, "e")["rate"]
        leave(run, f"{story}-d", {name: price * rate for name, price in prices.items()})


FLOWS = (a, b, c, d, e)


def read(run: RunReport, story: str, role: str) -> dict[str, Any]:
    run.read(role)
    return Catalog(run.tenant).document(f"{story}-{role}", "refresh", "output")


def leave(run: RunReport, instance: str, output: dict[str, Any]) -> None:
    """The seal, and then the pointer for those who read it."""
    artifact, digest = run.artifact("output", output), digest_of(output)
    run.complete(digest=digest, rows_processed=len(output))
    Catalog(run.tenant).publish(run, instance, "refresh", {"output": artifact.ref}, digest=digest)
