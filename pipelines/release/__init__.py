"""Which version serves: promotion, rollback, staging, shadow, canary, experiments and approvals."""
