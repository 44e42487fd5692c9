"""Makes tests/goldens/clip_releases.npz: what CLIP's, IRRA's and Word4Per's code computes.

    python tools/goldens_clip_releases.py --clip C --irra I --word4per W --out tests/goldens

C, I and W are checkouts of openai/CLIP (d05afc4), anosorae/IRRA (cfc2378) and
Delong-liu-bupt/Composed_Person_Retrieval (0cc1693), read for their numbers alone. Needs torch and
transformers beside the package; the tests need neither. Keys of the file:

  <kind>/full             every key of the state_dict at full size with its shape, "key 768 768"
  <kind>/tiny             the same of a tiny network, whose values tests/clip_state.py makes
  <kind>/<output>         f64, what the tiny network computes in double precision
  <kind>/gradient/<key>   of its loss
  positions               f32, CLIP's positions as IRRA's code interpolates them

Kinds: clip and clip_hf, transformers' CLIPModel (image, text: features of unit norm; logits; loss
of pairs), irra (image, text: all tokens; sdm, id, mlm: losses of its own forward, and their sum),
word4per (words of IRRA's image features; loss: the mean of words times these features).
"""

import argparse
import importlib
import pathlib
import sys
import types

import numpy as np
import torch
from goldens_swin_llama import double_precision
from torch import nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.clip_state import (
    DEPTH,
    END,
    GRADIENTS,
    HIDDEN,
    LENGTH,
    PATCH,
    PEOPLE,
    SIZE,
    SQUARE,
    VIT_DEPTH,
    VOCABULARY,
    WIDTH,
    batch,
    values,
)

Arrays = dict[str, np.ndarray]
# Sizes of OpenAI's loader that the archive keeps as buffers (clip/model.py, build_model).
SIZES = ("input_resolution", "context_length", "vocab_size")


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    for name in ("clip", "irra", "word4per"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help="checkout")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.Tensor.float = torch.Tensor.half = torch.Tensor.double  # no rounding on the way
    openai = imported(options.clip / "clip", "model")
    irra = imported(options.irra / "model", "build", "clip_model", "objectives")
    words = imported(
        options.word4per / "old_project" / "model", "build", "clip_model", "objectives", "word4per"
    )
    for code in (openai["model"], irra["clip_model"]):
        code.LayerNorm.forward = nn.LayerNorm.forward  # theirs goes through float32
    arrays = {}

    full = towers(openai["model"].CLIP, "full", image_resolution=224)
    arrays["clip/full"] = keys(full, {name: () for name in SIZES})
    tiny = filled(towers(openai["model"].CLIP, "tiny", image_resolution=SQUARE))
    arrays["clip/tiny"] = keys(tiny)
    arrays |= named("clip", clip(tiny, "clip"))
    with torch.device("meta"):
        hugging_face = CLIPModel(CLIPConfig(
            vision_config={"patch_size": 16}, text_config={}, projection_dim=512
        ))  # fmt: skip
    ids = {"text_model.embeddings.position_ids": (1, 77)}
    ids["vision_model.embeddings.position_ids"] = (1, 197)
    arrays["clip_hf/full"] = keys(hugging_face, ids)
    with double_precision():
        tiny = filled(tiny_hugging_face())
        arrays["clip_hf/tiny"] = keys(tiny)
        arrays |= named("clip_hf", clip(tiny, "clip_hf"))

    arrays["irra/full"] = keys(network(irra, "IRRA", "full"))
    tiny = filled(network(irra, "IRRA", "tiny"))
    arrays["irra/tiny"] = keys(tiny)
    arrays |= named("irra", relation(tiny))
    square = torch.from_numpy(square_positions())
    grid = [n // PATCH for n in SIZE]
    count = torch.empty(grid[0] * grid[1] + 1, WIDTH)
    arrays["positions"] = irra["clip_model"].resize_pos_embed(square, count, *grid).numpy()

    inversion = prefixed(words["word4per"].IM2TEXT())
    arrays["word4per/full"] = keys(network(words, "Word4Per", "full"), shapes_of(inversion))
    tiny = filled(prefixed(words["word4per"].IM2TEXT(WIDTH, HIDDEN, WIDTH)))
    arrays["word4per/tiny"] = keys(tiny)
    arrays |= named("word4per", inverted(tiny, torch.from_numpy(arrays["irra/image"][:, 0])))
    np.savez_compressed(options.out / "clip_releases.npz", **arrays)
    for name, value in arrays.items():
        print(name, value.shape)


def imported(folder: pathlib.Path, *names: str) -> dict[str, types.ModuleType]:
    """Modules of a package, without its __init__."""
    for name in [n for n in sys.modules if n == "model" or n.startswith("model.")]:
        del sys.modules[name]
    package = sys.modules["model"] = types.ModuleType("model")
    package.__path__ = [str(folder)]
    found = {name: importlib.import_module(f"model.{name}") for name in names}
    return found


def towers(build, size: str, **more) -> nn.Module:
    """CLIP at one of two sizes."""
    tiny = size == "tiny"
    with torch.device("cpu" if tiny else "meta"):
        return build(
            embed_dim=WIDTH if tiny else 512, vision_layers=VIT_DEPTH if tiny else 12,
            vision_width=WIDTH if tiny else 768, vision_patch_size=PATCH if tiny else 16,
            context_length=LENGTH if tiny else 77, vocab_size=VOCABULARY if tiny else 49408,
            transformer_width=WIDTH if tiny else 512, transformer_heads=2 if tiny else 8,
            transformer_layers=DEPTH if tiny else 12, **more,
        )  # fmt: skip


def network(code: dict[str, types.ModuleType], name: str, size: str) -> nn.Module:
    """IRRA or Word4Per on CLIP at one of two sizes."""
    tiny = size == "tiny"
    image, stride = (SIZE, PATCH) if tiny else ((384, 128), 16)
    build = code["clip_model"].CLIP
    code["build"].build_CLIP_from_openai_pretrained = lambda *_: (
        towers(build, size, image_resolution=image, stride_size=stride),
        {"embed_dim": WIDTH if tiny else 512},
    )
    options = argparse.Namespace(
        loss_names="sdm+mlm+id", temperature=0.02, pretrain_choice="", img_size=image,
        stride_size=stride, cmt_depth=DEPTH if tiny else 4,
        vocab_size=VOCABULARY if tiny else 49408, id_loss_weight=1.0, mlm_loss_weight=1.0,
    )  # fmt: skip
    with torch.device("cpu" if tiny else "meta"):
        return getattr(code["build"], name)(options, PEOPLE if tiny else 11003)


def tiny_hugging_face() -> CLIPModel:
    """Of the sizes of the tiny CLIP."""
    block = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 2}
    text = {
        "vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "eos_token_id": END,
        "num_hidden_layers": DEPTH,
    }  # fmt: skip
    vision = {"image_size": SQUARE, "patch_size": PATCH, "num_hidden_layers": VIT_DEPTH}
    return CLIPModel(
        CLIPConfig(
            vision_config=vision | block, text_config=text | block, projection_dim=WIDTH,
            attn_implementation="eager",
        )
    )  # fmt: skip


def prefixed(inversion: nn.Module) -> nn.Module:
    """A network for words under the name that a checkpoint has for it."""
    return nn.ModuleDict({"img2text": inversion})


def filled(model: nn.Module) -> nn.Module:
    """A network with the values of tests/clip_state.py, in double precision."""
    model.load_state_dict(
        {key: torch.from_numpy(np.asarray(x)) for key, x in values(shapes_of(model)).items()}
    )
    for module in model.modules():
        if getattr(module, "attn_mask", None) is not None:
            module.attn_mask = module.attn_mask.double()
    return model.double().eval()


def square_positions() -> np.ndarray:
    """Positions of CLIP's image tower in the tiny network."""
    count = (SQUARE // PATCH) ** 2 + 1
    return values({"visual.positional_embedding": (count, WIDTH)})["visual.positional_embedding"]


def tensors() -> dict[str, torch.Tensor]:
    """The inputs, images with their channels first."""
    found = {}
    for name, value in batch().items():
        x = torch.from_numpy(value)
        found[name] = x.permute(0, 3, 1, 2).double() if x.ndim == 4 else x.long()
    return found


def clip(model: nn.Module, kind: str) -> Arrays:
    """Features, logits and the loss of pairs."""
    x = tensors()
    if kind == "clip":
        logits, _ = model(x["square"], x["tokens"])
        image, text = model.encode_image(x["square"]), model.encode_text(x["tokens"])
    else:
        found = model(pixel_values=x["square"], input_ids=x["tokens"])
        logits, image, text = found.logits_per_image, found.image_embeds, found.text_embeds
    target = torch.arange(len(logits))
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    loss.backward()
    found = {
        "image": F.normalize(image, dim=1),
        "text": F.normalize(text, dim=1),
        "logits": logits,
        "loss": loss,
    }
    return {k: v.detach().numpy() for k, v in found.items()} | gradients(model, kind)


def relation(model: nn.Module) -> Arrays:
    """Tokens and the losses of IRRA's own forward."""
    x = tensors()
    losses = model({
        "images": x["images"], "caption_ids": x["tokens"], "pids": x["person_id"],
        "mlm_ids": x["masked"], "mlm_labels": x["labels"],
    })  # fmt: skip
    found = {name: losses[f"{name}_loss"] for name in ("sdm", "id", "mlm")}
    found["loss"] = sum(found.values())
    found["loss"].backward()
    found["image"] = model.base_model.encode_image(x["images"])
    found["text"] = model.base_model.encode_text(x["tokens"])
    return {k: v.detach().numpy() for k, v in found.items()} | gradients(model, "irra")


def inverted(model: nn.Module, image: torch.Tensor) -> Arrays:
    """Words of images, and a loss."""
    words = model["img2text"](image)
    loss = (words * image).mean()
    loss.backward()
    found = {"words": words, "loss": loss}
    return {k: v.detach().numpy() for k, v in found.items()} | gradients(model, "word4per")


def gradients(model: nn.Module, kind: str) -> Arrays:
    """Gradients of three parameters."""
    found = dict(model.named_parameters())
    return {f"gradient/{key}": found[key].grad.numpy() for key in GRADIENTS[kind]}


def named(kind: str, arrays: Arrays) -> Arrays:
    """Arrays of a kind."""
    return {f"{kind}/{name}": value for name, value in arrays.items()}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a state_dict by key."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def keys(model: nn.Module, more: dict[str, tuple[int, ...]] | None = None) -> np.ndarray:
    """Lines of keys and shapes."""
    shapes = shapes_of(model) | (more or {})
    return np.array([" ".join([key, *map(str, shape)]) for key, shape in shapes.items()])


if __name__ == "__main__":
    main()
