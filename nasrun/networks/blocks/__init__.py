"""Build the layers that supernets and derived networks share."""
