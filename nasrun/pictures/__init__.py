"""Draw cells and plots, as text, SVG and PNG."""
