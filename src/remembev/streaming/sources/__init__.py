"""Sources of frames to stream.

``dataset.py`` has scenes of a data set, ``simulated.py`` a simulated street, ``keyframe.py`` one key frame in a folder,
``recordings.py`` recordings of a few frames.
"""
