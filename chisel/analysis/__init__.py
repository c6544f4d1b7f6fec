"""Analysis: pure statistics on arrays."""
