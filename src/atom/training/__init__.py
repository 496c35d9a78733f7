"""Training: tasks that a person works on together with an agent."""
