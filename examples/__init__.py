"""Example platforms for Runtide: real flows on real data. Not part of what is installed."""
