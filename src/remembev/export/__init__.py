"""Deployment: the streaming step, raw points to boxes, as an ONNX file or an AOTInductor package.

``step.py`` is what is exported, ``interface.py`` what a file says of itself, ``onnx_file.py`` and ``aoti_file.py``
write and run the two kinds, ``engine.py`` is what a ``StreamingDetector`` steps with then.
"""

from remembev.export.files import export_checkpoint, load_exported, open_detector
from remembev.export.interface import Interface
from remembev.export.step import StreamingStep

__all__ = ["Interface", "StreamingStep", "export_checkpoint", "load_exported", "open_detector"]
