"""What plugins subclass, implement and register."""
