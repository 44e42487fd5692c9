"""Word4Per (Delong-liu-bupt/Composed_Person_Retrieval, old_project, best.pth), words for text."""

from jaxreid.weights import clip_towers

KIND = clip_towers.word4per("word4per", "text")
