"""Sources of frames to stream: scenes of a data set (``dataset.py``), a simulated street (``simulated.py``)."""
