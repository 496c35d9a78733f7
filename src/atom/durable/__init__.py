"""Leases, fencing and the job queue; knows no domain."""
