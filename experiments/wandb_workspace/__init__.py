"""A saved W&B workspace for rollouts of world models."""
