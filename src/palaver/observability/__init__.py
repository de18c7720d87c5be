"""What happened, told to people and to machines."""
