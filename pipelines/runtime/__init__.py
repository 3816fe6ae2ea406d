"""What the commands and flows run in: processes, locks, the clock, databases on disk, retention."""
