"""Search by CMA-ES on the alphas of a supernet: EG-NAS, and the parts it is made of."""
