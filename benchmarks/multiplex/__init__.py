"""Many models on one device: what joining them gains, alone and behind a front end, beside what others do."""
