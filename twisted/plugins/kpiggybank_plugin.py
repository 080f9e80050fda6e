"""Tells `twistd` and `twist` of KPIggyBank, and imports nothing of it until it is started."""

from twisted.application.service import ServiceMaker

KPIggyBank = ServiceMaker(  # Twisted gives it no types
    "KPIggyBank",
    "kpiggybank.plugin",
    "Keeps KPI events: post them, query them, follow them live.",
    "kpiggybank",
)
