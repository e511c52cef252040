"""What Waiter counts, times and writes down about itself."""
