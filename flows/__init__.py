"""Ready-made flows, one file each: what to open first, copy and change."""
