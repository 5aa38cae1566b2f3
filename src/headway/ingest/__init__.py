"""Events from outside into a flow's inboxes: by HTTP, or from a file."""
