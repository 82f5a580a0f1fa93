"""Runtide: publish run requests, follow them, report from inside a flow."""
