"""The page that a run ends with: one HTML file that needs nothing beside itself."""
