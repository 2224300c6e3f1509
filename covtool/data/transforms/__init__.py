"""Images to tensors: timm's transforms, normalization, operations on pixels."""
