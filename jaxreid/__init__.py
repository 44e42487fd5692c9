"""Language-based person retrieval in JAX."""
