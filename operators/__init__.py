"""The keyed operators: what Headway ships, built on the same public API that a flow's own operators use."""
