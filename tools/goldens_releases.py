"""Makes tests/goldens/releases.npz: what the code of releases computes, and the keys it saves.

    python tools/goldens_releases.py --albef A --rasa R --blip B --cada C --out tests/goldens

A, R, B and C are checkouts of salesforce/ALBEF (b9727e4), Flame-Chasers/RaSa (bd16aa1),
salesforce/BLIP (056a169) and LinDixuan/CADA (1087f33), read for their numbers alone. Needs torch
and transformers beside the package; the tests need neither. Keys of the file, for each kind of
jaxreid.weights:

  <kind>/full       every key of the state_dict at full size with its shape, "key 768 768"
  <kind>/tiny       the same of a tiny network, whose values tests/published_state.py makes
  <kind>/<output>   f64, what the tiny network computes in double precision
  <kind>/gradient/<key>   of its loss

Outputs: image, text (embeddings of unit norm), match (logits of the fusing encoder), words (logits
of the MLM head, which blip_retrieval lacks); of albef_retrieval ita and itm, the losses of its own
forward; of the others the sum of losses on these outputs.
"""

import argparse
import importlib
import json
import pathlib
import sys
import tempfile
import types

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.published_state import (
    EMBEDDING,
    HEADS,
    IMAGE,
    LAYERS,
    MLP,
    PATCH,
    POSITIONS,
    QUEUE,
    VIT_DEPTH,
    VOCABULARY,
    WIDTH,
    batch,
    gradient_keys,
    values,
)

Arrays = dict[str, np.ndarray]
FULL = {"albef": 256, "albef_retrieval": 384, "rasa": 384, "blip": 224, "blip_retrieval": 384}


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    for name in ("albef", "rasa", "blip", "cada"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True, help="checkout")
    options = parser.parse_args()
    torch.set_num_threads(1)
    arrays = {}
    for kind, folder, module, run in (
        ("albef", options.albef, "model_pretrain", pretrained),
        ("albef_retrieval", options.albef, "model_retrieval", retrieval),
        ("rasa", options.rasa, "model_person_search", pretrained),
        ("blip", options.blip, "blip_pretrain", blip),
        ("blip_retrieval", options.blip, "blip_retrieval", blip),
        ("cada", options.cada, "cada", blip),
    ):
        for size in ("full", "tiny"):
            with release(folder, size) as code:
                model = build(code(f"models.{module}"), kind, size)
                shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
                lines = [" ".join([key, *map(str, shape)]) for key, shape in shapes.items()]
                arrays[f"{kind}/{size}"] = np.array(lines)
                if size == "tiny":
                    found = run(code, model.double())
                    arrays |= {f"{kind}/{name}": value for name, value in found.items()}
        print(kind, len(arrays[f"{kind}/full"]))
    np.savez_compressed(options.out / "releases.npz", **arrays)


class release:
    """Imports modules of a checkout that was written for transformers 4 and timm."""

    def __init__(self, folder: pathlib.Path, size: str):
        self.folder, self.size = folder, size

    def __enter__(self):
        for name in [n for n in sys.modules if n == "models" or n.startswith("models.")]:
            del sys.modules[name]
        put_in_place()
        sys.modules["models"] = types.ModuleType("models")
        sys.modules["models"].__path__ = [str(self.folder / "models")]
        self.device = torch.device("meta" if self.size == "full" else "cpu")
        self.device.__enter__()
        self.linspace, torch.linspace = torch.linspace, lambda a, b, n: np.linspace(a, b, n)
        return importlib.import_module

    def __exit__(self, *_):
        torch.linspace = self.linspace
        self.device.__exit__(*_)


def put_in_place() -> None:
    """Names that the releases import and new versions lack."""

    class Base(nn.Module):
        config_class = None

        def __init__(self, config, *inputs, **options):
            super().__init__()
            self.config = config

        dtype, device = torch.float64, torch.device("cpu")

        @classmethod
        def from_pretrained(cls, name, config=None, **options):
            model = cls(config, **options)
            if hasattr(model, "cls"):  # tied when it is loaded
                encoder = model.bert.embeddings.word_embeddings
                model.cls.predictions.decoder.weight = encoder.weight
            return model

        def init_weights(self):
            """Weights are put in later."""

        def resize_token_embeddings(self, count):
            """The config has all words."""

        def get_head_mask(self, head_mask, layers):
            """No head is masked."""
            return [None] * layers

        def invert_attention_mask(self, mask):
            """0 where attended to, far below elsewhere."""
            return (1.0 - mask[:, None, None, :].to(torch.float64)) * -10000.0

    class PatchEmbed(nn.Module):
        def __init__(self, img_size, patch_size, in_chans, embed_dim):
            super().__init__()
            self.num_patches = (img_size // patch_size) ** 2
            self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)

        def forward(self, x):
            """[B, N, D] of [B, 3, h, w]."""
            return self.proj(x).flatten(2).transpose(1, 2)

    def fake(name: str, **members) -> None:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)

    def unchanged(*_, **__):
        return lambda function: function

    import transformers.modeling_outputs
    import transformers.utils

    fake(
        "transformers.file_utils",
        ModelOutput=transformers.utils.ModelOutput,
        add_code_sample_docstrings=unchanged,
        add_start_docstrings=unchanged,
        add_start_docstrings_to_model_forward=unchanged,
        replace_return_docstrings=unchanged,
    )
    fake(
        "transformers.modeling_utils",
        PreTrainedModel=Base,
        apply_chunking_to_forward=lambda forward, size, dim, *inputs: forward(*inputs),
        find_pruneable_heads_and_indices=None,
        prune_linear_layer=None,
    )
    names = dict(_cfg=lambda **_: {}, PatchEmbed=PatchEmbed, register_model=lambda f: f)
    for name in ("timm", "timm.models", "fairscale", "fairscale.nn", "fairscale.nn.checkpoint"):
        fake(name)
    fake("timm.models.vision_transformer", **names)
    fake("timm.models.registry", **names)
    fake("timm.models.layers", trunc_normal_=nn.init.trunc_normal_, DropPath=nn.Identity)
    fake("timm.models.helpers", named_apply=None, adapt_input_conv=None)
    fake("timm.models.hub", download_cached_file=None)
    fake("fairscale.nn.checkpoint.checkpoint_activations", checkpoint_wrapper=lambda m: m)


def config_file(full: bool, words: int, cross: bool) -> str:
    """A BERT config of the releases."""
    sizes = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                 num_attention_heads=12, vocab_size=30520 + words, max_position_embeddings=512,
                 encoder_width=768, fusion_layer=6)  # fmt: skip
    if not full:
        sizes = dict(hidden_size=WIDTH, intermediate_size=MLP, num_hidden_layers=sum(LAYERS),
                     num_attention_heads=HEADS, vocab_size=VOCABULARY + words - 2,
                     max_position_embeddings=POSITIONS, encoder_width=WIDTH,
                     fusion_layer=LAYERS[0])  # fmt: skip
    rest = dict(hidden_act="gelu", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                layer_norm_eps=1e-12, type_vocab_size=2, pad_token_id=0, model_type="bert",
                chunk_size_feed_forward=0, add_cross_attention=cross, is_decoder=False,
                position_embedding_type="absolute", gradient_checkpointing=False)  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(sizes | rest, file)
    return file.name


def build(module: types.ModuleType, kind: str, size: str) -> nn.Module:
    """The network of a release at full or at tiny size."""
    full = size == "full"
    vit = importlib.import_module("models.vit").VisionTransformer
    image = FULL.get(kind, 224) if full else IMAGE

    def tiny_vit(img_size=image, **_):
        return vit(img_size=img_size, patch_size=PATCH, embed_dim=WIDTH, depth=VIT_DEPTH,
                   num_heads=HEADS, mlp_ratio=MLP / WIDTH, qkv_bias=True)  # fmt: skip

    if kind in ("albef", "albef_retrieval", "rasa"):
        if not full:
            module.VisionTransformer = tiny_vit
        config = dict(
            image_res=image, vision_width=768 if full else WIDTH, distill=True, temp=0.07,
            embed_dim=256 if full else EMBEDDING, bert_config=config_file(full, 2, False),
            queue_size=65536 if full else QUEUE, momentum=0.995, mlm_probability=0.15,
            mrtd_mask_probability=0.3,
        )  # fmt: skip
        options = {"init_deit": False} if kind == "albef" else {}
        return module.ALBEF(text_encoder="", tokenizer=None, config=config, **options)

    def make_vit(name, size, *_, **options):
        if full:
            jigsaw = {"jigsaw": True} if "jigsaw" in options else {}
            return vit(img_size=size, patch_size=16, embed_dim=768, depth=12, num_heads=12,
                       **jigsaw), 768  # fmt: skip
        return tiny_vit(size), WIDTH

    tokens = types.SimpleNamespace(cls_token_id=1, mask_token_id=3, pad_token_id=0)
    module.create_vit, module.init_tokenizer = make_vit, lambda: Sized(tokens)
    module.torch = Torch()
    sizes = {} if kind == "cada" else {"embed_dim": 256 if full else EMBEDDING}
    if not full and kind != "cada":
        sizes["queue_size"] = QUEUE
    name = {"blip": "BLIP_Pretrain", "blip_retrieval": "BLIP_Retrieval", "cada": "CADA"}[kind]
    made = getattr(module, name)(config_file(full, 4, True), image, **sizes)
    if kind == "cada" and not full:  # its embed_dim is written out
        made.vision_proj, made.text_proj = nn.Linear(WIDTH, EMBEDDING), nn.Linear(WIDTH, EMBEDDING)
    if kind == "cada":  # transformers ties them when it makes a model
        made.text_decoder.cls.predictions.decoder.weight = (
            made.text_decoder.bert.embeddings.word_embeddings.weight
        )
    return made


class Sized:
    """A tokenizer, for its length."""

    def __init__(self, tokens):
        vars(self).update(vars(tokens))

    def __len__(self):
        return 30524


class Torch:
    """torch, without downloads."""

    hub = types.SimpleNamespace(load_state_dict_from_url=lambda **_: {"model": {}})

    def __getattr__(self, name):
        return getattr(torch, name)


def put(model: nn.Module) -> None:
    """Puts the values of the tests in."""
    shapes = {key: tuple(x.shape) for key, x in model.state_dict().items()}
    state = {key: torch.from_numpy(x) for key, x in values(shapes).items()}
    model.load_state_dict(state)
    for key, value in model.state_dict().items():  # what is shared here is equal there
        assert torch.equal(value, state[key].to(value.dtype)), key
    model.double().eval()


def inputs():
    """Images [B, 3, h, w], and tokens with their mask."""
    images, tokens = batch()
    images = torch.from_numpy(images).double().permute(0, 3, 1, 2)
    tokens = torch.from_numpy(tokens).long()
    return images, types.SimpleNamespace(input_ids=tokens, attention_mask=(tokens != 0).long())


def gradients(model: nn.Module, loss: torch.Tensor) -> Arrays:
    """Of three parameters, by key."""
    loss.backward()
    named = dict(model.named_parameters())
    return {f"gradient/{k}": named[k].grad.numpy() for k in gradient_keys(named)}


def retrieval(code, model: nn.Module) -> Arrays:
    """The forward of model_retrieval.py; of two people each is the other's only negative.

    Its targets are float32 even in a double network, where a half is exact.
    """
    put(model)
    sys.modules["models.model_retrieval"].concat_all_gather = lambda x: x
    images, text = inputs()
    ita, itm = model(images[:2], first(text, 2), alpha=0.5, idx=torch.tensor([5, 3]))
    found = {"ita": ita.detach().numpy(), "itm": itm.detach().numpy()}
    for name in ("image_queue", "text_queue", "idx_queue", "queue_ptr"):
        found[f"after/{name}"] = getattr(model, name).numpy()
    found |= {
        f"after/{k}": dict(model.named_parameters())[k].detach().numpy()
        for k in ("visual_encoder_m.blocks.0.attn.qkv.weight", "text_proj_m.bias")
    }
    return found | gradients(model, ita + itm)


def first(text, count: int):
    """The first texts."""
    return types.SimpleNamespace(
        input_ids=text.input_ids[:count], attention_mask=text.attention_mask[:count]
    )


def pretrained(code, model: nn.Module) -> Arrays:
    """Features of ALBEF with its MLM head, put together as its forward does."""
    put(model)
    images, text = inputs()
    tokens = model.visual_encoder(images)
    bert = model.text_encoder.bert
    hidden = bert(
        text.input_ids, attention_mask=text.attention_mask, return_dict=True, mode="text"
    ).last_hidden_state
    fused = bert(
        encoder_embeds=hidden,
        attention_mask=text.attention_mask,
        encoder_hidden_states=tokens,
        encoder_attention_mask=torch.ones(tokens.shape[:2]),
        return_dict=True,
        mode="fusion",
    ).last_hidden_state
    words = model.text_encoder.cls(fused)
    return outputs(model, tokens, hidden, fused[:, 0], words)


def blip(code, model: nn.Module) -> Arrays:
    """Features of BLIP and of CADA: [ENC] before the fusing encoder, a causal decoder."""
    put(model)
    images, text = inputs()
    tokens = model.visual_encoder(images)
    hidden = model.text_encoder(
        text.input_ids, attention_mask=text.attention_mask, return_dict=True, mode="text"
    ).last_hidden_state
    entered = text.input_ids.clone()
    entered[:, 0] = VOCABULARY + 1
    image = dict(
        attention_mask=text.attention_mask,
        encoder_hidden_states=tokens,
        encoder_attention_mask=torch.ones(tokens.shape[:2]),
        return_dict=True,
    )
    fused = model.text_encoder(entered, **image).last_hidden_state
    words = None
    if hasattr(model, "text_decoder"):
        decoded = model.text_decoder.bert(text.input_ids, is_decoder=True, **image)
        words = model.text_decoder.cls(decoded.last_hidden_state)
    return outputs(model, tokens, hidden, fused[:, 0], words)


def outputs(model, tokens, hidden, fused, words) -> Arrays:
    """Embeddings, logits and the gradients of a loss on them."""
    image = F.normalize(model.vision_proj(tokens[:, 0]), dim=-1)
    text = F.normalize(model.text_proj(hidden[:, 0]), dim=-1)
    match = model.itm_head(fused)
    target = torch.arange(len(image))
    loss = F.cross_entropy(image @ text.T / 0.1, target) + F.cross_entropy(match, target % 2)
    found = {"image": image, "text": text, "match": match}
    if words is not None:
        loss = loss + F.cross_entropy(words[:, 1], inputs()[1].input_ids[:, 1])
        found["words"] = words[:, :3]
    found["loss"] = loss
    found = {name: x.detach().numpy() for name, x in found.items()}
    return found | gradients(model, loss)


if __name__ == "__main__":
    main()
