"""Trains the embedded PushT world model from nothing, stage by stage; see README.md."""
