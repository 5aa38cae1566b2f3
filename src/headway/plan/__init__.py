"""From the graph of a flow to stages and exchanges, and to the numbers under which their state is stored."""
