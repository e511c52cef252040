"""Slots of instances, handed to one request each."""
