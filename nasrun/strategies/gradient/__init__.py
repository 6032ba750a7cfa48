"""Search by gradient descent on the alphas of a supernet."""
