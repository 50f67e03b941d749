"""What people look at: overlays, plots and the report page."""
