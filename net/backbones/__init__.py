"""The encoders: each says its channels, level by level, and the smallest side it takes."""
