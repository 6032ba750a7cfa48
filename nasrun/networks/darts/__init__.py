"""Build supernets and derived networks of the DARTS space."""
