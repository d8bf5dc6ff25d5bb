"""How fast do the engines run? See README.md."""
