"""Build supernets and derived networks in torch."""
