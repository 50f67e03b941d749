"""Pictures: overlays, plots and the report page."""
