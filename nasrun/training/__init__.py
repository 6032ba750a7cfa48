"""Train networks: batches, the one minibatch loop, updates, schedules, costs."""
