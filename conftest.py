"""For all tests: pytest would import modules by their files, and so the source of one beside the others compiled."""

from importlib import import_module

from headway.basics import compiled

for name in compiled.HOT:
    import_module(name)
