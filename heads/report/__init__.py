"""The page that a run ends with: `clare report`, one HTML file that needs nothing beside itself."""
