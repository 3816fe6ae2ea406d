"""Health of the parts and of the loop: metrics, alerts, doctor, the pages of the tools."""
