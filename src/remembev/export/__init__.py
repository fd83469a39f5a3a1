"""Export of the streaming step, points to boxes, as an ONNX file or an AOTInductor package.

``step.py`` has the step, ``interface.py`` a file's description; ``onnx_file.py`` and ``aoti_file.py`` write and run the
two formats, ``cuda_graph.py`` captures the step on a GPU; ``engine.py`` runs any of them in a ``StreamingDetector``.
"""

from remembev.export.files import capture_step, export_checkpoint, load_exported, open_detector
from remembev.export.interface import Interface
from remembev.export.step import StreamingStep

__all__ = ["Interface", "StreamingStep", "capture_step", "export_checkpoint", "load_exported", "open_detector"]
