"""Judges a PushT world model on episodes it has never seen; see README.md."""
