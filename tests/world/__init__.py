"""Tests with what others have written: clients, browsers, the Collector, MLflow's server, faults of the machine."""
