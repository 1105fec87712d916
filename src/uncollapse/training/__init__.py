"""One model trained on one data set: the loop, the schedules, and what its length cuts off."""
