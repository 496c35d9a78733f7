"""Typed events and their transactional outbox."""
