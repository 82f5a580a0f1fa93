"""What is served: the flows of the example platform, and those of the tests."""

from __future__ import annotations

from examples.quant.flows.backtest import backtest
from examples.quant.flows.monitor_model import monitor_model
from examples.quant.flows.monitor_prices import monitor_prices
from examples.quant.flows.optimize_portfolio import optimize_portfolio
from examples.quant.flows.preview_momentum import preview_momentum
from examples.quant.flows.refresh_momentum import refresh_momentum
from examples.quant.flows.refresh_prices import refresh_prices
from examples.quant.flows.run_inference import run_inference
from examples.quant.flows.train_model import train_model
from examples.testing.flows import retrying, silent, sleeper

FLOWS = (
    refresh_prices,
    monitor_prices,
    refresh_momentum,
    preview_momentum,
    train_model,
    run_inference,
    monitor_model,
    optimize_portfolio,
    backtest,
    sleeper,
    retrying,
    silent,
)
