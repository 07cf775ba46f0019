"""Real systems: find, start, connect, stop."""
