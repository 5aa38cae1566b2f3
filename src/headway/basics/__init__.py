"""What everything else stands on: times, errors of declarations, what is compiled. It knows nothing of flows."""
