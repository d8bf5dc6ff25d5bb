"""The parts of the day, a module each with `run(task)`."""
