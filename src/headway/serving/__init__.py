"""Decision state for other services: the views of a flow over HTTP, from a process of its own."""
