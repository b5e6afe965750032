"""Family 6: metrics and decisions, from source."""
