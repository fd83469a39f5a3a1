"""Sources of frames to stream.

``dataset.py`` has scenes of a data set, ``simulated.py`` a simulated street, ``recordings.py`` recordings of a few
frames; ``stacking.py`` stacks turns.
"""
