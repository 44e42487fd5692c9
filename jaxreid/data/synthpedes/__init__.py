"""The embedded data set: rendered people with captions, attributes, dialogues and triplets."""
