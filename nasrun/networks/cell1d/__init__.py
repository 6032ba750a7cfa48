"""Build supernets and derived networks of cells on signals."""
