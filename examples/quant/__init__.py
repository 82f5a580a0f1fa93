"""A small quant platform: prices, a momentum signal, a model, a portfolio, a backtest."""
