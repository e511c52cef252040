"""Runs services through Marathon."""
