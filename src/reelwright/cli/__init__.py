"""The command line: flags from configuration schemas, workflows started by name, events rendered."""
