"""Built-in serializers and visualizers."""
