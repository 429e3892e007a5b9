"""Statistics on plain numbers: survival, regression, trends. Knows no run directory."""
