"""The typed config: schema, store and composition."""
