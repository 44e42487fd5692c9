"""The attributes of a synthpedes person and the values each may take."""

COLORS = (
    "black", "white", "gray", "navy", "blue", "light blue", "red", "maroon", "pink", "orange",
    "yellow", "green", "olive", "purple", "brown", "beige",
)  # fmt: skip

# A person is a dict attribute -> value. "none" means absent; an attribute that cannot apply (the
# colour of an absent bag) is "none" too, so equal looks have equal dicts.
VALUES = {
    "gender": ("man", "woman"),
    "skin": ("light", "tan", "brown", "dark"),
    "build": ("slim", "average", "heavy"),
    "height": ("short", "average", "tall"),
    "hair_color": ("none", "black", "brown", "blonde", "red", "gray"),
    "hair_length": ("bald", "short", "medium", "long"),
    "hair_style": ("none", "straight", "curly", "ponytail", "bun"),
    "glasses": ("none", "glasses", "sunglasses"),
    "beard": ("none", "beard"),
    "top_type": ("t-shirt", "shirt", "polo", "blouse", "tank top", "sweater", "hoodie", "dress"),
    "top_color": COLORS,
    "top_pattern": ("plain", "striped", "plaid", "dotted", "floral", "graphic"),
    "top_color2": ("none", *COLORS),  # of the pattern
    "sleeves": ("sleeveless", "short", "long"),
    "outer_type": ("none", "jacket", "coat", "vest", "cardigan", "blazer"),
    "outer_color": ("none", *COLORS),
    "outer_open": ("none", "open", "closed"),
    "bottom_type": ("none", "pants", "jeans", "leggings", "shorts", "skirt"),  # none: a dress
    "bottom_color": ("none", *COLORS),
    "shoes_type": ("sneakers", "shoes", "boots", "sandals", "heels"),
    "shoes_color": COLORS,
    "bag_type": ("none", "backpack", "shoulder bag", "handbag", "shopping bag", "suitcase"),
    "bag_color": ("none", *COLORS),
    "bag_side": ("none", "left", "right", "back"),  # the wearer's own left and right
    "hat_type": ("none", "cap", "hat", "beanie"),
    "hat_color": ("none", *COLORS),
    "scarf_color": ("none", *COLORS),
    "held": ("none", "phone", "umbrella", "book", "bottle", "cup", "papers"),
    "held_side": ("none", "left", "right"),
}

VIEWS = ("front", "left", "back", "right")  # the side of the person that the camera sees

# The sleeves that a kind of top can have.
SLEEVES = {
    "t-shirt": ("short", "long"),
    "shirt": ("short", "long"),
    "polo": ("short",),
    "blouse": ("sleeveless", "short", "long"),
    "tank top": ("sleeveless",),
    "sweater": ("long",),
    "hoodie": ("long",),
    "dress": ("sleeveless", "short", "long"),
}

# Attributes that are "none" exactly when the first of their row is.
TOGETHER = (
    ("outer_type", "outer_color", "outer_open"),
    ("bottom_type", "bottom_color"),
    ("bag_type", "bag_color", "bag_side"),
    ("hat_type", "hat_color"),
    ("held", "held_side"),
)

ONLY_WOMEN = {
    "top_type": ("dress", "blouse"),
    "bottom_type": ("skirt", "leggings"),
    "shoes_type": ("heels",),
    "hair_style": ("bun",),
}

# Colours that a small picture does not tell apart when one is a pattern on the other.
_CLOSE = (
    {"black", "navy", "maroon", "brown", "olive", "purple"},
    {"navy", "blue", "purple"},
    {"white", "beige", "light blue", "yellow", "pink"},
    {"gray", "olive", "light blue", "beige", "pink"},
    {"gray", "brown", "purple", "green", "blue"},
    {"red", "maroon", "orange", "pink"},
    {"orange", "yellow", "brown"},
    {"green", "olive", "blue"},
)


def conflicts(person: dict[str, str]) -> tuple[str, ...]:
    """Returns what is wrong with a person, a sentence each; empty if the person can be drawn.

    Args:
      person: attribute -> value.
    """
    if set(person) != set(VALUES):
        return (f"attributes {sorted(set(person) ^ set(VALUES))} are missing or unknown",)
    found = [
        f"{attribute} is {person[attribute]!r}, allowed: {allowed}"
        for attribute, allowed in VALUES.items()
        if person[attribute] not in allowed
    ]
    if found:
        return tuple(found)
    return (*_absent_parts(person), *_clothes(person), *_hair(person), *_hands(person))


def colors_close(one: str, other: str) -> bool:
    """True where a pattern of colour `other` on colour `one` could not be seen."""
    return one == other or any(one in group and other in group for group in _CLOSE)


def _absent_parts(person: dict[str, str]) -> list[str]:
    """Parts that are absent must have no colour and no side, parts that are there must."""
    return [
        f"{first} is {person[first]!r} but {attribute} is {person[attribute]!r}"
        for first, *rest in TOGETHER
        for attribute in rest
        if (person[first] == "none") != (person[attribute] == "none")
    ]


def _clothes(person: dict[str, str]) -> list[str]:
    top, pattern, color2 = person["top_type"], person["top_pattern"], person["top_color2"]
    found = []
    if person["gender"] == "man":
        found += [
            f"{attribute} is {person[attribute]!r} on a man"
            for attribute, only in ONLY_WOMEN.items()
            if person[attribute] in only
        ]
    if (top == "dress") != (person["bottom_type"] == "none"):
        found.append(f"top_type is {top!r} but bottom_type is {person['bottom_type']!r}")
    if top == "dress" and person["outer_open"] == "closed":
        found.append("a closed outer layer hides a dress")
    if person["sleeves"] not in SLEEVES[top]:
        found.append(f"a {top} has sleeves {SLEEVES[top]}, not {person['sleeves']!r}")
    if (pattern == "plain") != (color2 == "none"):
        found.append(f"top_pattern is {pattern!r} but top_color2 is {color2!r}")
    if color2 != "none" and colors_close(person["top_color"], color2):
        found.append(f"a {color2} pattern cannot be seen on {person['top_color']}")
    return found


def _hair(person: dict[str, str]) -> list[str]:
    length, style = person["hair_length"], person["hair_style"]
    found = []
    for attribute in ("hair_color", "hair_style"):
        if (length == "bald") != (person[attribute] == "none"):
            found.append(f"hair_length is {length!r} but {attribute} is {person[attribute]!r}")
    if style in ("ponytail", "bun") and length not in ("medium", "long"):
        found.append(f"a {style} needs medium or long hair, not {length!r}")
    if person["gender"] == "woman" and person["beard"] == "beard":
        found.append("beard is 'beard' on a woman")
    return found


def _hands(person: dict[str, str]) -> list[str]:
    bag, side = person["bag_type"], person["bag_side"]
    found = []
    if (bag == "backpack") != (side == "back"):
        found.append(f"bag_type is {bag!r} but bag_side is {side!r}")
    if person["held"] != "none" and person["held_side"] == side:
        found.append(f"the {bag} and the {person['held']} are both on the {side}")
    return found
