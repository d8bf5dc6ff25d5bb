"""Built-in metrics, numpy only."""
