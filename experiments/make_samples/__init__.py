"""Makes the sample observations that ship with the package."""
