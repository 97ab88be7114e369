"""Engines: what measures the chunks of a run. This process, worker processes on one machine, or actors of Ray.

Whichever it is, the command's own process alone writes the run folder, and findings are the same.
"""
