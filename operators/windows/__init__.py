"""Windows over the events of a key."""
