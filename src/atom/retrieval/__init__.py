"""Ranking of text: lexical scores, embeddings and their fusion."""
