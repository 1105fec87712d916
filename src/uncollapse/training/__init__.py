"""One model trained on one data set: the loop, its schedules and the decisions between epochs."""
