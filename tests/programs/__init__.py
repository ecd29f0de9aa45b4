"""What tests run on ranks: functions whose first argument is the communicator and whose results are JSON."""
