"""Pictures of what covtool computes, as PNG, SVG and PDF files; needs matplotlib."""
