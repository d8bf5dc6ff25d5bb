"""Experiments: how the columns of well-known datasets map to the domains that Cosmos 3 was trained on."""
