"""What a person searches with: a gallery, what a witness says, and the next question to ask.

Letters for array shapes beside those of `jaxreid.methods`:
  Q searches at a time   N gallery images   A attributes   V values of the attribute with most
  T questions of a search
"""
