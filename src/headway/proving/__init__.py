"""Proving that a flow recovers: runs that are disturbed must give what an undisturbed one gives."""
