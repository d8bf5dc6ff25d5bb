"""The built-in scores: how good each frame of an episode is."""
