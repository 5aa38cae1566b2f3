"""Telling a monitoring system how a flow is: snapshots that processes leave, and the one that exports them."""
