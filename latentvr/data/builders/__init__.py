"""Records from the data sets' own folders: one file per task, one way of running, counting and writing."""
