"""Hostile files, made to be refused."""
