"""What computes: the simulators, models and tools behind every chapter.

One module is one concept. Nothing here knows of widgets, plots or notebooks, so everything can be called in a
cell, in a test or in a script.  Heavy packages (pandas, Numba) are imported where they are used:
``import course`` stays under 0.15 s.
"""
