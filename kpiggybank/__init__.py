"""KPIggyBank: the piggy bank for Key Performance Indicator events."""

from kpiggybank.client import KPIggyBank

__all__ = ["KPIggyBank"]
__version__ = "0.1.0"
