"""A run of random weights that searches by captions, as a trained one lies on the disk."""

import json

import jax
from tiny import recipe

from configs import clip
from jaxreid.checkpoint import Checkpoints
from jaxreid.data.text import train_tokenizer
from jaxreid.files import write_json
from jaxreid.parts import method_module

TEXTS = ["a man in a red shirt and blue jeans", "a woman with a black bag and a white dress"]


def make_run(folder, data_dir="", get_config=clip.get_config):
    """Writes the run into a folder and returns the folder; its data is synthpedes, tiny."""
    config = recipe(get_config)
    method = method_module(config.method)
    config.train.compilation_cache = False
    config.data.update(variant="tiny", data_dir=str(data_dir))
    config.eval.batch_size = 16
    learn = getattr(method, "learn_vocabulary", train_tokenizer)
    learn(TEXTS * 20, 530, str(folder / "tokenizer"))
    write_json(folder / "config.json", json.loads(config.to_json_best_effort()))
    (folder / "people.json").write_text('{"people": 3}')
    config.text.tokenizer = str(folder / "tokenizer")
    params = jax.jit(method.make(config).init)(jax.random.key(0))
    checkpoints = Checkpoints(str(folder / "checkpoints"), keep=1, best=config.eval.select)
    checkpoints.save(3, {"params": params}, {"step": 3}, {config.eval.select: 1.0}, wait=True)
    checkpoints.close()
    return folder
