"""Measuring machines, for the cost models."""
