"""Compiled loops, one module a concept, each with a plain-Python twin that means the same."""
