"""Looking at the systems around a flow before it runs: whether they answer, what is there, what a flow would need."""
