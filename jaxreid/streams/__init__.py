"""Parts of a method that several methods share: a network, its forward passes and its losses.

LAIP names them: the image-text stream (global alignment, which is ALBEF) and the image-phrase
stream (local alignment). A stream imports models and losses; a method composes streams.
"""
