"""The process beside each execution: it confines the program, watches it, ends it and says what came of it.

It is forked by the keeper, which runs as `python -I -S` in an empty environment. Its modules import little: what is not
there has no bugs, and the program's side of the fork has it too.
"""
