"""Where triggers are delivered: services over HTTP, databases, functions. The contract is in `headway.targets.base`."""
