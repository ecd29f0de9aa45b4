"""What ranks run: functions whose first argument is the communicator and whose results are JSON."""
