"""Collectors that ask, and the aggregator that turns their answers into slots."""
