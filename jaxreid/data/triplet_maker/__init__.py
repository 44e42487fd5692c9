"""Makes composed triplets (reference image, words, target image) of images with attributes.

The pipeline of SynCPR (Liu et al., 2023, arXiv 2311.16515) on what runs anywhere. There a language
model writes pairs of captions and the words between them, a generator draws both images as one
person, and a vision-language model drops triplets by four filters. Here the images are those of a
set, the words come from the attributes that differ, and the filters read attributes and pixels:

  quality       images are large, sharp, contrasted and well exposed; the words are a sentence
  identity      both images show the same body
  alignment     all that the words claim is seen in the target, and a change is told
  inferability  reference and words together say which outfit is meant, neither of them alone does

A language model, a generator, an embedding of identity and a scorer of text and image can be
plugged in: see `plugs`. `maker.make` is the whole; it judges one candidate after the other.
"""
