"""The card of a saved model: what it is, what it saw, how well it ranks, what it is not for."""

from collections.abc import Mapping
from typing import Any

from jaxreid.data.licences import LICENCES

_QUERIES = {
    "captions": ("a sentence", 'queries = model.encode_text(["a woman in a red coat"])'),
    "triplets": (
        "a photo plus the words that change it",
        'queries = model.encode_composed(["a.jpg"], ["in a red coat"])',
    ),
    "dialogues": (
        "a dialogue",
        'queries = model.encode_dialogue([[("What did she wear?", "A red coat.")]])',
    ),
}
_SCORES = ("R1", "R5", "R10", "mAP", "mINP")


def model_card(
    config: Mapping[str, Any],
    searches_by: str,
    results: Mapping[str, Any] | None,
    *,
    version: str,
    step: int,
    parameters: int,
    config_hash: str,
) -> str:
    """Returns README.md of a saved model.

    Args:
      config: of the run, as JSON has it.
      searches_by: of `jaxreid.data.queries.KINDS`.
      results: the contents of results.json; None where the run was not evaluated.
      version: of jaxreid.
      step: of training.
      parameters: numbers in the network.
      config_hash: of `jaxreid.model.config_hash`.
    """
    data, method = config["data"], config["method"]
    name = f"{data['name']} {data['variant']}".strip()
    by, query = _QUERIES[searches_by]
    return f"""# {method} on {name}

Finds images of a person by {by}. Trained by jaxreid {version}: {parameters / 1e6:.2f} M parameters,
step {step}; SHA-256 of config.json: `{config_hash}`.

```python
import jaxreid

model = jaxreid.load("FOLDER OF THIS FILE")
images = model.encode_image(["1.jpg", "2.jpg"])
{query}
print(model.similarity(queries, images))
```

## Data

Trained on {name}. Licence of the data: {_licences(data)}.
Start weights: {config.get("start") or "none, from random"}; their terms hold, too.

## Scores

{_scores(results)}

## Use

Intended: research on retrieval, and galleries whose people know of it and agree. Out of scope:
identifying or following people without their consent; any decision about a person by a ranking
alone. The first ranks are wrong often, as the scores say, and more often for people who look unlike
those of the training data.
"""


def _licences(data: Mapping[str, Any]) -> str:
    """Of the data set of a section `data`; that it is evaluated on is told with the scores."""
    return LICENCES.get(data["name"], "not known")


def _scores(results: Mapping[str, Any] | None) -> str:
    """A table in percent and the command that made it."""
    if results is None:
        return "Not evaluated."
    data = results["data"]
    ranked = data.get("test_name") or f"{data['name']} {data['variant']}".strip()
    rows = [
        f"On {ranked} {data['split']}: {results['queries']} queries, {results['gallery']} images, "
        "in percent.",
        "",
        f"| | {' | '.join(_SCORES)} |",
        f"|---{'|---' * len(_SCORES)}|",
    ]
    for block in ("chance", "coarse", "final"):
        values = " | ".join(f"{results[block][score]:.2f}" for score in _SCORES)
        rows.append(f"| {block} | {values} |")
    command = results.get("command")
    made = f"`{command}`" if command else "`jaxreid.run.train` in a program of its user"
    rows += ["", f"Made by {made}, {results['versions']['jaxreid']}."]
    return "\n".join(rows)
