"""ViT-B/16 of DeiT and timm (deit_base_patch16_224-b5f2ef4d.pth), from which ALBEF and BLIP start.

It fills the image encoder alone.
"""

from jaxreid.weights import blocks
from jaxreid.weights.names import Kind, Range

KIND = Kind(
    name="vit",
    title="a Vision Transformer of timm or DeiT (deit_base_patch16_224-b5f2ef4d.pth)",
    methods=("laip", "albef", "cada", "diana"),
    entries=blocks.vit("", "vit/"),
    ranges={"vit": Range("vit/blocks_{vit}")},
    unused=(r"head\.(weight|bias)",),  # of 1,000 classes
    positions=(("vit/pos_embed", "bicubic"),),
    part=True,
)
