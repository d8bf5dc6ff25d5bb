"""Does the embedded model rank policies as the simulator does? README.md says how it is run."""
