"""Deployment: the streaming step, raw points to boxes, as an ONNX file or an AOTInductor package.

``step.py`` is what is exported, ``interface.py`` what a file says of itself, ``onnx_file.py`` and ``aoti_file.py``
write and run the two kinds, ``cuda_graph.py`` captures the step on a GPU, ``engine.py`` is what a
``StreamingDetector`` steps with then.
"""

from remembev.export.files import capture_step, export_checkpoint, load_exported, open_detector
from remembev.export.interface import Interface
from remembev.export.step import StreamingStep

__all__ = ["Interface", "StreamingStep", "capture_step", "export_checkpoint", "load_exported", "open_detector"]
