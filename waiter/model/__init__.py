"""Values: what the rooms of Waiter pass to each other. No input or output happens here."""
