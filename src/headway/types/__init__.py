"""Types of events and states: what they say about values, how values are checked, decoded and copied."""
