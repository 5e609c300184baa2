"""Instructions and preferences."""
