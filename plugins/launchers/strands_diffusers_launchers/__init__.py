"""Hydra launchers whose workers load a world model once, stay warm, and may die without taking the sweep along."""
