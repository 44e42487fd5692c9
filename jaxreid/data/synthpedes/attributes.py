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
