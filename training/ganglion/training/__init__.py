"""Data in, adapters and policies out; evaluation. Each command's config module is light to import, its run is not."""
