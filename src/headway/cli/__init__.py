"""The command `headway`: one module per subcommand, and what they share."""
