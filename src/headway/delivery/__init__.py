"""Delivering triggers to targets: which one goes next, what becomes of it, and the thread that does it."""
