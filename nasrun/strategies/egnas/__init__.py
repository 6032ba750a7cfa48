"""Implement EG-NAS, CMA-ES over the alphas of a supernet, and the parts it is made of."""
