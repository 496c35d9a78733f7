"""The process that holds the sandbox, apart from those that hold keys and credentials."""
