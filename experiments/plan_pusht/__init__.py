"""Does it pay to choose among proposals that the model has predicted? README.md says how it is run."""
