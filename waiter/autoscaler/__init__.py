"""The number of instances follows the outstanding requests."""
