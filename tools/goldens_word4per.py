"""Makes a parity file of Word4Per: what PyTorch computes for tiny random models.

    python tools/goldens_word4per.py --out tests/goldens

Needs torch and transformers beside the package; the tests need neither, only the file. Two runs
write equal bytes for equal versions. Files:

  word4per.npz          the whole method on transformers' CLIPModel and CLIPTokenizer
  captions, vocabulary  what the vocabulary is learnt from, and its size at most
  clip/weight/<name>    parameters of CLIPModel, PyTorch layout
  <aim>/weight/<name>, <aim>/gradient/<name>   of the inversion network of an aim, and of the sum of
                        all losses
  input/<name>          images and references u8[B, h, w, 3], tokens, person_id
  output/<loss>         the losses
  output/<name>         unit features: image, text, mean; composed/<aims> of the networks fused
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
import torch
from goldens import Arrays, array
from goldens_clip import randomise
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from jaxreid.data.bpe import END, train_bpe

WIDTH, HEADS, MLP, LAYERS, PATCH, EMBEDDING = 32, 4, 64, 2, 8, 24
TEXT_WIDTH, HIDDEN, LENGTH, SIZE = 16, 20, 24, (32, 16)
SCALE, EPSILON = 50.0, 1e-8
PROMPT, TEMPLATE = "a photo of", "a * is , {}"
# Some too long for LENGTH, and the fourth for the prompt alone.
CAPTIONS = (
    "A woman in a red shirt and blue jeans.",
    "He wears a dark coat.",
    "A man with black hair in grey shoes carries a bag and a photo of a woman in a coat of fur, "
    "and a red shirt and a dark coat and blue jeans and grey shoes.",
    "A woman in a red shirt, blue jeans and grey shoes carries a dark bag.",
    "Black shoes",
    "A man in a red coat, a dark shirt and blue shoes",
)
PERSON_ID = (4, 1, 4, 0, 2, 1)
AIMS = ("text", "image", "text+image")
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    np.savez(out / "word4per.npz", **word4per(np.random.default_rng(20)))


def single(arrays: Arrays) -> Arrays:
    """Numbers computed in float64, kept in float32: nothing but our own rounding shows."""
    return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}


def inversion(widths: tuple[int, int, int], rng: np.random.Generator) -> nn.Sequential:
    """The textual inversion network in the order of the release (model/word4per.py), at rest."""
    inputs, hidden, outputs = widths
    net = nn.Sequential(
        nn.Linear(inputs, hidden), nn.Dropout(0.1), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.Dropout(0.1), nn.ReLU(),
        nn.Linear(hidden, outputs),
    )  # fmt: skip
    randomise(net, rng)
    return net.eval().double()


def sdm(image: torch.Tensor, text: torch.Tensor, person_id: torch.Tensor) -> torch.Tensor:
    """IRRA's loss (see jaxreid/losses/sdm.py)."""
    same = (person_id[:, None] == person_id[None]).double()
    log_target = torch.log(same / same.sum(1, keepdim=True) + EPSILON)
    cosine = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    total = 0
    for logits in (SCALE * cosine, SCALE * cosine.T):
        log_p = logits.log_softmax(1)
        total = total + (log_p.exp() * (log_p - log_target)).sum(1).mean()
    return total


def word4per(rng: np.random.Generator) -> Arrays:
    """Losses of three networks with gradients, and every form of a query."""
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = 560
        size = train_bpe(CAPTIONS, vocabulary, folder).vocabulary_size
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    end_id = tokenizer.convert_tokens_to_ids(END)
    model = clip(size, end_id, rng)
    nets = {aim: inversion((EMBEDDING, HIDDEN, TEXT_WIDTH), rng) for aim in AIMS}
    person_id = torch.tensor(PERSON_ID)

    def pixels() -> np.ndarray:
        return rng.integers(0, 256, size=(len(CAPTIONS), *SIZE, 3)).astype(np.uint8)

    def encode(sentences) -> torch.Tensor:
        ids = tokenizer(list(sentences), max_length=LENGTH, truncation=True)["input_ids"]
        rows = torch.zeros(len(ids), LENGTH, dtype=torch.long)
        for row, values in zip(rows, ids, strict=True):
            row[: len(values)] = torch.tensor(values)
        return rows

    images, references = pixels(), pixels()
    tokens = encode(CAPTIONS)
    image, text = image_feature(model, images), text_feature(model, tokens)

    # The prompt of training: the word goes before the end token.
    start = encode([PROMPT])[0]
    end = int((start == end_id).nonzero()[0, 0])
    star = tokenizer("*")["input_ids"][1]
    prompt = torch.cat([start[:end], torch.tensor([star]), start[end:-1]])
    prompts = prompt[None].expand(len(CAPTIONS), -1)
    arrays, losses = {}, {}
    for aim, net in nets.items():
        meaning = text_feature(model, prompts, end, net(image))
        for target, feature in (("text", text), ("image", image)):
            if target in aim.split("+"):
                name = f"inversion_{target}" + ("_both" if "+" in aim else "")
                losses[name] = sdm(meaning, feature, person_id)
    sum(losses.values()).backward()
    for aim, net in nets.items():
        for name, parameter in net.named_parameters():
            arrays[f"{aim}/weight/{name}"] = array(parameter)
            arrays[f"{aim}/gradient/{name}"] = array(parameter.grad)

    # The query: the word takes the place of the star.
    queries = encode(TEMPLATE.format(caption) for caption in CAPTIONS)
    place = int((queries[0] == star).nonzero()[0, 0])
    reference = image_feature(model, references)
    composed = {
        aim: F.normalize(text_feature(model, queries, place, net(reference)), dim=1)
        for aim, net in nets.items()
    }
    shown, told = F.normalize(reference, dim=1), F.normalize(text, dim=1)
    both = composed["text"] + composed["image"]
    return single({
        "captions": np.array(CAPTIONS),
        "vocabulary": np.int32(vocabulary),
        "input/images": images,
        "input/references": references,
        "input/tokens": array(tokens).astype(np.int32),
        "input/person_id": np.array(PERSON_ID, np.int32),
        "prompt": array(prompt).astype(np.int32),
        "queries": array(queries).astype(np.int32),
        "star": np.int32(star),
        **{f"output/{name}": array(loss) for name, loss in losses.items()},
        "output/image": array(shown),
        "output/text": array(told),
        "output/mean": array(F.normalize(shown + told, dim=1)),
        "output/composed/text": array(composed["text"]),
        "output/composed/text,image": array(F.normalize(both, dim=1)),
        **{f"clip/weight/{name}": array(p) for name, p in model.named_parameters()},
        **arrays,
    })  # fmt: skip


def clip(vocabulary: int, end_id: int, rng: np.random.Generator) -> CLIPModel:
    """The encoders, frozen; their grid is not square."""
    tower = dict(num_hidden_layers=LAYERS, intermediate_size=MLP, num_attention_heads=HEADS)
    config = CLIPConfig(
        vision_config=dict(
            tower, hidden_size=WIDTH, image_size=4 * PATCH, patch_size=PATCH, num_channels=3
        ),
        text_config=dict(
            tower, hidden_size=TEXT_WIDTH, vocab_size=vocabulary, eos_token_id=end_id,
            max_position_embeddings=LENGTH,
        ),
        projection_dim=EMBEDDING,
    )  # fmt: skip
    model = CLIPModel(config).eval()
    patches = (SIZE[0] // PATCH) * (SIZE[1] // PATCH)
    model.vision_model.embeddings.position_embedding = nn.Embedding(1 + patches, WIDTH)
    randomise(model, rng)
    return model.requires_grad_(False).double()


def image_feature(model: CLIPModel, images: np.ndarray) -> torch.Tensor:
    """Class tokens, any norm; the model's own forward() refuses images that are not square."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (MEAN, STD))
    values = (torch.from_numpy(images).double() / 255 - mean) / std
    vision = model.vision_model
    hidden = vision.embeddings.patch_embedding(values.permute(0, 3, 1, 2))
    hidden = hidden.flatten(2).transpose(1, 2)
    first = vision.embeddings.class_embedding.expand(len(images), 1, -1)
    hidden = torch.cat([first, hidden], dim=1) + vision.embeddings.position_embedding.weight
    hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(hidden)).last_hidden_state
    return model.visual_projection(vision.post_layernorm(hidden[:, 0]))


def text_feature(
    model: CLIPModel, tokens: torch.Tensor, place: int = 0, words: torch.Tensor | None = None
) -> torch.Tensor:
    """End tokens, any norm, as CLIPModel pools them; `words` are rows more of the token table."""
    weights = {}
    if words is not None:
        table = model.text_model.embeddings.token_embedding.weight
        weights["embeddings.token_embedding.weight"] = torch.cat([table, words])
        tokens = tokens.clone()
        tokens[:, place] = len(table) + torch.arange(len(words))
    pooled = functional_call(model.text_model, weights, (tokens,)).pooler_output
    return model.text_projection(pooled)


if __name__ == "__main__":
    main()
