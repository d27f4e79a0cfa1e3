"""What a data file holds: counted, compared with another, and shown on a page."""
