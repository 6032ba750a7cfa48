"""Build supernets and derived networks of the NAS-Bench-201 space."""
