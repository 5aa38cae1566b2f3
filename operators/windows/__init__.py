"""Windows: how the events of a key are divided into finite pieces, and what is computed of each."""
