"""`headway demo`: a little shop in one process tree, that shows what a flow gives to the systems around it."""
