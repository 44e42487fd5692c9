"""Word4Per (Delong-liu-bupt/Composed_Person_Retrieval, old_project, best.pth), words for both."""

from jaxreid.weights import clip_towers

KIND = clip_towers.word4per("word4per_both", "text+image")
