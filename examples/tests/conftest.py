"""A small market, drawn once with a fixed seed; and the real one, as it is known on a fixed day."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from examples.quant.data import load_market

TUESDAY = datetime(2025, 1, 14, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def prices() -> pd.DataFrame:
    """900 sessions of six stocks, random walks."""
    random = np.random.default_rng(7)
    returns = random.normal(0.0004, 0.01, size=(900, 6))
    sessions = pd.bdate_range("2020-01-01", periods=900, name="date")
    return pd.DataFrame(100 * np.exp(returns.cumsum(axis=0)), index=sessions, columns=list("ABCDEF"))


@pytest.fixture(scope="session")
def market():
    return load_market(TUESDAY)
