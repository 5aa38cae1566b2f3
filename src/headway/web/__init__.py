"""What every HTTP server of Headway has in common: its process, who may ask, its limits, and how it says no."""
