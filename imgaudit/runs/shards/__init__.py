"""Shards: parts of an audit that several machines measure, each in a folder of its own, and the run merged from them.

Every part knows the whole list of images, so all parts agree on who takes which chunk without talking to one another.
"""
