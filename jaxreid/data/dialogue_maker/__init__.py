"""Makes dialogues about images with attributes: questions, and what a witness answers.

Any attribute table will do that `triplet_maker.tables` reads. A witness remembers each attribute
truly, wrongly, vaguely or not at all, at stated rates; a wrong answer names another value of the
table, in words that never suit the true one. A language model can be plugged in for the words.
`maker.make` is the whole.
"""
