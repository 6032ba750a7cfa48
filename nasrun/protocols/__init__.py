"""Define the seams: what each kind of plug-in offers, and what it may use."""
