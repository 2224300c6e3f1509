"""Models leave covtool: ONNX, torch.export programs, timm folders."""

from covtool.exporting.exporting import export
from covtool.exporting.records import ExportRequest, ExportResult

__all__ = ["ExportRequest", "ExportResult", "export"]
