"""Models leave covtool: ONNX, torch.export programs, timm folders."""
