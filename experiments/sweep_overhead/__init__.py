"""What the framework adds to a sweep, beside the shortest loop that does the same."""
