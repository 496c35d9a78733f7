"""Running the scripts of skills: who may, what came of it, and a row for each."""
