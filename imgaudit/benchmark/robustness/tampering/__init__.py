"""Finished runs that somebody edited: every kind of edit has to be found, and no copy of an untouched run refused."""
