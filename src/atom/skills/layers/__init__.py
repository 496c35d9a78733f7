"""Packages that skills declare, installed apart from every run into folders that are never changed."""
