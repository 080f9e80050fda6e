"""The HTTP door: routes, answers and limits. Only here are status codes known."""
