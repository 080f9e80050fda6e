"""The tests of KPIggyBank."""
