"""For tests, ours and those of people who write backends."""
