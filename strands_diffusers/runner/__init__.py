"""One job, its record on disk, and sweeps of many."""
