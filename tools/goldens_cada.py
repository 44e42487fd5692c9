"""Makes the parity files of CADA: what PyTorch computes for tiny random models.

    python tools/goldens_cada.py --out tests/goldens
    python tools/goldens_cada.py --out tests/goldens --release CHECKOUT

Needs torch and transformers beside the package; the tests need neither, only the files. Two runs
write equal bytes for equal versions. Keys are those of tools/goldens.py. Files:

  decoder.npz       transformers' BlipTextModel, of which the decoder of CADA is one: hidden states
                    of text alone, of text with an image, and with a causal mask too; and, written
                    out in PyTorch, the matching logits and losses of token groups in both forms,
                    masked attribute modelling, with gradients of the sum of these losses
  ndf.npz           NDF in both forms, with gradients
  cada_release.npz  losses that the code of a checkout of LinDixuan/CADA (1087f33) itself computes,
                    on one process: ndf_loss, itm_loss (ATP) and ara_loss, without dropout
"""

import argparse
import importlib
import pathlib
import sys
import types

import numpy as np
import torch
from goldens import array, parameters, randomise, tensor
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BlipTextConfig
from transformers.models.blip.modeling_blip_text import BlipTextModel, BlipTextOnlyMLMHead

Arrays = dict[str, np.ndarray]

WIDTH, HEADS, MLP, DEPTH = 32, 4, 64, 2
VOCABULARY, POSITIONS, IMAGE_WIDTH = 41, 20, 24
PAIRS, LENGTH, IMAGE_TOKENS = 8, 17, 7
GROUP_SIZE, GROUP_STRIDE = 6, 5  # 3 groups of the 16 tokens after [CLS]
EPSILON = 1e-8


def main() -> None:
    """Writes the files into the folder --out; that of the release only where it is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the files")
    parser.add_argument("--release", type=pathlib.Path, help="checkout of LinDixuan/CADA")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if options.release:
        arrays = release(np.random.default_rng(12), options.release)
        np.savez(options.out / "cada_release.npz", **arrays)
        return
    np.savez(options.out / "decoder.npz", **decoder(np.random.default_rng(10)))
    np.savez(options.out / "ndf.npz", **ndf(np.random.default_rng(11)))


class Matcher(nn.Module):
    """BLIP's text model with the heads of CADA."""

    def __init__(self):
        super().__init__()
        config = BlipTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            encoder_hidden_size=IMAGE_WIDTH,
            intermediate_size=MLP,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            max_position_embeddings=POSITIONS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=0,
            attn_implementation="eager",
        )
        self.text = BlipTextModel(config, add_pooling_layer=False)
        # Else the padding row gets no gradient, which the means over all positions send there.
        self.text.embeddings.word_embeddings.padding_idx = None
        self.cls = BlipTextOnlyMLMHead(config)
        self.cls.predictions.decoder.weight = self.text.embeddings.word_embeddings.weight
        self.cls.predictions.decoder.bias = self.cls.predictions.bias
        self.itm_head = nn.Linear(WIDTH, 2)
        self.itm_local_head = nn.Linear(WIDTH, 2)


def decoder(rng: np.random.Generator) -> Arrays:
    """Hidden states of all modes, ATP in both forms, MAM."""
    model = Matcher().eval()
    randomise(model, rng)
    tokens = torch.from_numpy(rng.integers(2, VOCABULARY, size=(PAIRS, LENGTH)))
    lengths = torch.tensor([17, 12, 4, 9, 16, 5, 3, 8])
    mask = torch.arange(LENGTH)[None] < lengths[:, None]
    tokens = torch.where(mask, tokens, 0)
    image_tokens = tensor(rng.normal(size=(PAIRS, IMAGE_TOKENS, IMAGE_WIDTH))).requires_grad_()
    match = torch.tensor([1, 1, 0, 1, 0, 0, 0, 0])
    long = mask.long()
    text = model.text(tokens, attention_mask=long).last_hidden_state
    fused = model.text(
        tokens, attention_mask=long, encoder_hidden_states=image_tokens
    ).last_hidden_state
    causal = model.text(
        tokens, attention_mask=long, encoder_hidden_states=image_tokens, is_decoder=True
    ).last_hidden_state

    # A word is a token that is neither [CLS] nor the last, [SEP]; texts 2, 5, 6 end in group 0.
    words = mask & (torch.arange(LENGTH)[None] < lengths[:, None] - 1)
    logits = {"words": group_logits(model, fused, words), "all": group_logits(model, fused, None)}
    present = torch.stack(
        [words[:, 1:][:, at : at + GROUP_SIZE].any(1) for at in (0, 5, 10)], dim=1
    )
    first = model.itm_head(fused[:, 0])
    loss_first = F.cross_entropy(first, match)
    atp = loss_first  # Eq. 5: the sum over groups of the mean over the pairs that have the group
    for k in range(3):
        has = present[:, k]
        atp = atp + F.cross_entropy(logits["words"][has, k], match[has])
    released = loss_first + F.cross_entropy(
        logits["all"].transpose(0, 1).flatten(0, 1), match.repeat(3)
    )

    masked = torch.from_numpy(rng.random((PAIRS, LENGTH)) < 0.5) & words
    masked[:, 0] = False
    hidden = model.text(
        torch.where(masked, 1, tokens), attention_mask=long, encoder_hidden_states=image_tokens
    ).last_hidden_state
    scores = model.cls(hidden)
    mam = F.cross_entropy(scores[masked], tokens[masked])
    (atp + released + mam).backward()
    return {
        "input/tokens": array(tokens).astype(np.int32),
        "input/mask": array(mask),
        "input/image_tokens": array(image_tokens),
        "input/match": array(match).astype(bool),
        "input/masked": array(masked),
        "output/text": array(text),
        "output/fused": array(fused),
        "output/causal": array(causal),
        "output/first": array(first),
        "output/groups_words": array(logits["words"]),
        "output/groups_all": array(logits["all"]),
        "output/present": array(present),
        "output/atp": array(atp),
        "output/released_atp": array(released),
        "output/scores": array(scores[masked]),
        "output/mam": array(mam),
        "gradient_of_input/image_tokens": array(image_tokens.grad),
        **parameters(model, str),
    }


def group_logits(model: Matcher, fused: torch.Tensor, words: torch.Tensor | None) -> torch.Tensor:
    """[P, 3, 2] logits of token groups; the means are over words, or over all positions."""
    groups = []
    for start in (0, GROUP_STRIDE, 2 * GROUP_STRIDE):
        part = fused[:, 1:][:, start : start + GROUP_SIZE]
        if words is None:
            groups.append(part.mean(1))
        else:
            keep = words[:, 1:][:, start : start + GROUP_SIZE].float()[..., None]
            groups.append((part * keep).sum(1) / keep.sum(1).clamp(min=1))
    return torch.stack([model.itm_local_head(group) for group in groups], dim=1)


def ndf(rng: np.random.Generator) -> Arrays:
    """NDF of Eq. 2 and as released, with unequal norms and numbers of positives."""
    scales = rng.uniform(0.1, 4, size=(2, 7, 1))
    image, text = (tensor(rng.normal(size=(7, 5)) * s).requires_grad_() for s in scales)
    person_id = torch.tensor([4, 2, 4, 0, 9, 4, 2])
    temperature = 0.2  # at 0.02 the gradients of random vectors vanish or explode
    same = (person_id[:, None] == person_id[None]).float()
    q = same / same.sum(1, keepdim=True)
    z = F.normalize(image, dim=1) @ F.normalize(text, dim=1).T / temperature
    paper = released = 0
    for logits in (z, z.T):
        log_p, log_q = F.log_softmax(logits, dim=1), torch.log(q + EPSILON)
        terms = log_p.exp() * (log_p - log_q) + q * (log_q - log_p)
        paper = paper + terms.sum(1).mean() / 2
        released = released + (terms.mean() + F.cross_entropy(logits, q)) / 2
    grads = torch.autograd.grad(paper, (image, text), retain_graph=True)
    released_grads = torch.autograd.grad(released, (image, text))
    return {
        "image": array(image),
        "text": array(text),
        "person_id": array(person_id).astype(np.int32),
        "temperature": np.float32(temperature),
        "loss": array(paper),
        "gradient/image": array(grads[0]),
        "gradient/text": array(grads[1]),
        "released/loss": array(released),
        "released/gradient/image": array(released_grads[0]),
        "released/gradient/text": array(released_grads[1]),
    }


class Text(types.SimpleNamespace):
    """What the release's tokenizer returns."""

    def to(self, device):
        """Itself: there is one device."""
        return self


def release(rng: np.random.Generator, folder: pathlib.Path) -> Arrays:
    """Losses of the release's own code; 73 tokens, as its group bounds are written out."""
    cada, med = import_release(folder)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=80,
        layer_norm_eps=1e-12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config.encoder_width, config.add_cross_attention = 12, True
    encoder = med.BertModel(config=config, add_pooling_layer=False).eval()
    head = med.BertMLMLMHeadModel(config=config).eval()
    head.cls.predictions.decoder.weight = head.bert.embeddings.word_embeddings.weight
    model = types.SimpleNamespace(
        logit_scale=torch.tensor(1 / 0.02),
        temp=torch.tensor(1 / 0.07),
        text_encoder=encoder,
        text_decoder=head,
        itm_head=nn.Linear(16, 2),
        itm_local_head=nn.Linear(16, 2),
        tokenizer=types.SimpleNamespace(
            enc_token_id=29, pad_token_id=0, cls_token_id=1, mask_token_id=3
        ),
    )
    modules = nn.ModuleDict(
        {
            name: getattr(model, name)
            for name in ("text_encoder", "text_decoder", "itm_head", "itm_local_head")
        }
    )
    randomise(modules, rng)
    model.attr_mask = types.MethodType(cada.CADA.attr_mask, model)

    lengths = torch.tensor([73, 30, 52, 40])
    mask = torch.arange(73)[None] < lengths[:, None]
    tokens = torch.from_numpy(rng.integers(4, 28, size=(4, 73)))
    tokens[:, 0] = 1
    tokens[torch.arange(4), lengths - 1] = 2
    tokens = torch.where(mask, tokens, 0)
    text = Text(input_ids=tokens, attention_mask=mask.long())
    image_tokens = tensor(rng.normal(size=(4, 5, 12)))
    image, text_embedding = (tensor(rng.normal(size=(4, 6)) * s) for s in (0.5, 2.0))
    person_id = torch.tensor([3, 8, 3, 5])
    # Tags of the words of each caption, half of them nouns and adjectives.
    tags = [[("w", rng.choice(["JJ", "NNS", "VB", "IN"])) for _ in range(n - 2)] for n in lengths]
    cada.nltk = types.SimpleNamespace(pos_tag=lambda words: words)
    torch.manual_seed(0)
    masks = []
    original = model.attr_mask

    def noted(*args, **kwargs):
        ids, labels = original(*args, **kwargs)
        masks.append(labels != -100)
        return ids, labels

    model.attr_mask = noted
    with torch.no_grad():
        ndf_loss = cada.CADA.ndf_loss(model, image, text_embedding, person_id)
        itm_loss = cada.CADA.itm_loss(
            model, image_tokens, text, image, text_embedding, person_id, None
        )
        ara_loss = cada.CADA.ara_loss(model, text, tags, image_tokens)
    weights = {f"weight/{name}": array(value) for name, value in modules.named_parameters()}
    return {
        "input/tokens": array(tokens).astype(np.int32),
        "input/image_tokens": array(image_tokens),
        "input/image": array(image),
        "input/text": array(text_embedding),
        "input/person_id": array(person_id).astype(np.int32),
        "input/masked": array(masks[0]),
        "input/tagged": np.array(
            [[tag in ("JJ", "NNS") for _, tag in row] + [False] * (71 - len(row)) for row in tags]
        ),
        "output/ndf": array(ndf_loss),
        "output/itm": array(itm_loss),
        "output/ara": array(ara_loss),
        **weights,
    }


def import_release(folder: pathlib.Path) -> tuple[types.ModuleType, types.ModuleType]:
    """(models.cada, models.med) of a checkout, which was written for transformers 4.

    What transformers 5 lacks is put in its place: names that only imports need, and a base class
    that holds a config. The image encoder and the tokenizer are not needed.
    """

    class Base(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config = config

        dtype, device = torch.float32, torch.device("cpu")

        def init_weights(self):
            """Weights are put in later."""

        def get_head_mask(self, head_mask, layers):
            """No head is masked."""
            return [None] * layers

        def invert_attention_mask(self, mask):
            """0 where attended to, far below elsewhere."""
            return (1.0 - mask[:, None, None, :].float()) * -10000.0

    def fake(name: str, **members) -> None:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)

    import transformers.modeling_outputs
    import transformers.utils

    fake("transformers.file_utils", ModelOutput=transformers.utils.ModelOutput)
    fake(
        "transformers.modeling_utils",
        PreTrainedModel=Base,
        apply_chunking_to_forward=lambda forward, size, dim, *inputs: forward(*inputs),
        find_pruneable_heads_and_indices=None,
        prune_linear_layer=None,
    )
    sys.path.insert(0, str(folder))
    fake("models.vit", VisionTransformer=None, interpolate_pos_embed=None)
    fake("models.blip", create_vit=None, init_tokenizer=None)
    sys.modules["models"] = types.ModuleType("models")
    sys.modules["models"].__path__ = [str(folder / "models")]
    cada, med = (importlib.import_module(f"models.{name}") for name in ("cada", "med"))
    cada.concat_all_gather = cada.all_gather_with_grad = lambda x: x  # of one process
    return cada, med


if __name__ == "__main__":
    main()
