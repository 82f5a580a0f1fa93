"""Flows for tests of the whole: they do what they are told and nothing else."""
