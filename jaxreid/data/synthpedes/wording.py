"""The words for attribute values: synonyms with how often annotators write each.

Weights are relative; they follow the share of a word among its synonyms in descriptions of
pedestrians written by people. A vague word ("dark", "top", "bag") is listed only for values it
is true of, so no choice can make a statement false.
"""

import numpy as np


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Returns True with this probability."""
    return rng.random() < probability


def article(words: str) -> str:
    """Returns the words with "a" or "an" in front: "an orange shirt", "a one-piece dress"."""
    vowel = words[0] in "aeiou" and not words.startswith(("one", "uni"))
    return f"{'an' if vowel else 'a'} {words}"


COLOR_WORDS = {
    "black": {"black": 93, "dark": 4, "dark colored": 1.5, "dark-colored": 1, "jet black": 0.5},
    "white": {"white": 95, "light colored": 2, "light-colored": 1, "light": 1, "off white": 1,
              "off-white": 1},
    "gray": {"gray": 48, "grey": 46, "gray colored": 1, "grey colored": 1},
    "navy": {"dark blue": 44, "navy blue": 24, "navy": 18, "blue": 5, "dark": 6, "dark colored": 2,
             "dark-colored": 1, "navy-blue": 1},
    "blue": {"blue": 90, "royal blue": 3, "medium blue": 2, "blue colored": 2},
    "light blue": {"light blue": 70, "sky blue": 8, "pale blue": 6, "baby blue": 4, "blue": 8,
                   "light colored": 4},
    "red": {"red": 94, "bright red": 4, "red colored": 1},
    "maroon": {"maroon": 45, "dark red": 25, "burgundy": 18, "deep red": 3, "wine red": 4,
               "dark colored": 3},
    "pink": {"pink": 90, "rose colored": 1, "light pink": 4, "rosy pink": 0.5, "light colored": 2,
             "pink colored": 2},
    "orange": {"orange": 92, "orange colored": 3, "bright orange": 5},
    "yellow": {"yellow": 90, "sunny yellow": 0.5, "bright yellow": 6, "yellow colored": 2},
    "green": {"green": 94, "green colored": 3},
    "olive": {"olive green": 38, "olive": 22, "army green": 14, "dark green": 8, "green": 14,
              "olive colored": 2, "olive-green": 3, "military green": 3},
    "purple": {"purple": 90, "violet colored": 1, "violet": 6, "purple colored": 2},
    "brown": {"brown": 92, "brown colored": 2, "chocolate brown": 2},
    "beige": {"beige": 42, "tan": 28, "khaki": 16, "cream colored": 4, "khaki colored": 3,
              "sandy": 1, "light colored": 4, "sand colored": 2},
}  # fmt: skip
# Within "black and white" or "with white stripes" the plain names are used.
COLOR_NAMES = {
    "gray": {"gray": 1, "grey": 1}, "navy": {"navy": 2, "dark blue": 2, "navy blue": 1},
    "maroon": {"maroon": 2, "dark red": 1, "burgundy": 1}, "olive": {"olive": 1, "olive green": 1},
    "beige": {"beige": 2, "tan": 2, "khaki": 0.5, "cream": 0.5},
}  # fmt: skip

TOP_WORDS = {
    "t-shirt": {"t-shirt": 34, "shirt": 24, "tshirt": 14, "t shirt": 7, "tee": 6, "tee shirt": 5,
                "top": 4, "tee-shirt": 2, "jersey": 1},
    "shirt": {"shirt": 70, "collared shirt": 8, "button up shirt": 6, "button-down shirt": 4,
              "button-up shirt": 3, "dress shirt": 5, "top": 4, "buttoned shirt": 2},
    "polo": {"polo shirt": 45, "polo": 24, "shirt": 20, "collared shirt": 6, "polo t-shirt": 3},
    "blouse": {"blouse": 62, "top": 18, "shirt": 18},
    "tank top": {"tank top": 68, "tank": 7, "sleeveless shirt": 10, "sleeveless top": 8, "top": 6,
                 "tank shirt": 2, "singlet": 2},
    "sweater": {"sweater": 62, "pullover": 12, "jumper": 5, "knit sweater": 6, "top": 4,
                "pullover sweater": 4, "knitted sweater": 3, "knit top": 2},
    "hoodie": {"hoodie": 44, "hooded sweatshirt": 20, "sweatshirt": 16, "hooded sweater": 7,
               "hooded top": 5, "sweat shirt": 3, "hoody": 3, "hooded jumper": 1},
    "dress": {"dress": 84, "one-piece dress": 3, "knee length dress": 5, "knee-length dress": 3,
              "gown": 1},
}  # fmt: skip
OUTER_WORDS = {
    "jacket": {"jacket": 88, "casual jacket": 4, "coat": 4, "outer jacket": 2},
    "coat": {
        "coat": 64,
        "overcoat": 14,
        "long coat": 6,
        "winter coat": 6,
        "outer coat": 4,
        "top coat": 3,
    },
    "vest": {"vest": 80, "sleeveless jacket": 10, "waistcoat": 5, "sleeveless vest": 4},
    "cardigan": {"cardigan": 68, "cardigan sweater": 16, "sweater": 8, "knit cardigan": 6},
    "blazer": {"blazer": 48, "suit jacket": 26, "suit coat": 8, "sport coat": 6, "jacket": 10},
}
BOTTOM_WORDS = {
    "pants": {"pants": 64, "trousers": 18, "slacks": 9, "long pants": 6, "full length pants": 2},
    "jeans": {"jeans": 66, "long jeans": 2, "denim jeans": 9, "denim pants": 6, "pants": 6,
              "denims": 3, "jean pants": 3, "denim trousers": 2},
    "leggings": {"leggings": 66, "tights": 15, "tight pants": 8, "skinny pants": 5,
                 "stretch pants": 2},
    "shorts": {"shorts": 92, "short pants": 6},
    "skirt": {"skirt": 84, "knee length skirt": 7, "knee-length skirt": 4, "flared skirt": 3},
}  # fmt: skip
SHOES_WORDS = {
    "sneakers": {"sneakers": 34, "tennis shoes": 20, "shoes": 24, "running shoes": 7,
                 "athletic shoes": 4, "sports shoes": 4, "trainers": 3, "sport shoes": 2,
                 "jogging shoes": 1, "gym shoes": 2, "footwear": 1},
    "shoes": {"shoes": 78, "dress shoes": 8, "flat shoes": 4, "formal shoes": 4, "footwear": 3},
    "boots": {"boots": 88, "shoes": 6, "footwear": 1},
    "sandals": {"sandals": 84, "open sandals": 4, "open toed shoes": 5, "footwear": 2},
    "heels": {"heels": 40, "high heels": 34, "high heeled shoes": 10, "high-heeled shoes": 4,
              "heeled shoes": 5, "shoes": 5, "pumps": 5},
}  # fmt: skip
BAG_WORDS = {
    "backpack": {"backpack": 56, "back pack": 16, "rucksack": 5, "bag": 10, "book bag": 4,
                 "back-pack": 2, "knapsack": 2, "school bag": 2},
    "shoulder bag": {"shoulder bag": 42, "bag": 28, "sling bag": 8, "messenger bag": 8,
                     "satchel": 4, "over-the-shoulder bag": 2, "side bag": 3},
    "handbag": {"handbag": 38, "purse": 30, "hand bag": 14, "bag": 14, "tote bag": 2, "tote": 2,
                "pocketbook": 1},
    "shopping bag": {"shopping bag": 60, "bag": 22, "carrier bag": 6, "grocery bag": 4},
    "suitcase": {"suitcase": 68, "bag": 6, "travel bag": 4, "travel case": 3, "luggage bag": 3,
                 "carry-on": 2, "case": 2},
}  # fmt: skip
HAT_WORDS = {
    "cap": {"cap": 44, "baseball cap": 36, "hat": 12, "ball cap": 5, "baseball hat": 4},
    "hat": {"hat": 80, "brimmed hat": 10, "brim hat": 3},
    "beanie": {"beanie": 46, "knit hat": 16, "knit cap": 12, "hat": 12, "winter hat": 7,
               "knitted hat": 4, "beanie hat": 4},
}  # fmt: skip
HELD_WORDS = {
    "phone": {"a phone": 30, "a cell phone": 28, "a mobile phone": 18, "a smartphone": 5,
              "a cellphone": 6, "a mobile": 3, "a mobile device": 1, "a smart phone": 2,
              "something": 4},
    "umbrella": {"an umbrella": 1},
    "book": {"a book": 70, "a notebook": 8, "a booklet": 2, "something": 4},
    "bottle": {"a bottle": 54, "a water bottle": 26, "a drink bottle": 5, "a small bottle": 4},
    "cup": {"a cup": 52, "a coffee cup": 12, "a drink": 12, "a drinking cup": 4, "a beverage": 3},
    "papers": {"some papers": 34, "papers": 18, "some paper": 8, "a few papers": 8,
               "sheets of paper": 8, "some sheets of paper": 5, "a stack of papers": 5,
               "some documents": 5, "paperwork": 2},
}  # fmt: skip
HAIR_COLOR_WORDS = {
    "black": {"black": 76, "dark": 20, "dark colored": 3},
    "brown": {"brown": 88, "brunette": 3, "brown colored": 2},
    "blonde": {
        "blonde": 64,
        "blond": 24,
        "light colored": 4,
        "golden": 2,
        "fair": 3,
        "golden blonde": 1,
    },
    "red": {"red": 74, "reddish": 14, "ginger": 6, "auburn": 6},
    "gray": {"gray": 54, "grey": 38, "graying": 3},
}
HAIR_LENGTH_WORDS = {
    "short": {"short": 92, "short cut": 3, "cropped": 3},
    "medium": {"shoulder length": 40, "shoulder-length": 20, "medium length": 22,
               "medium-length": 10, "mid length": 4},
    "long": {"long": 96, "very long": 1},
}  # fmt: skip
SLEEVE_WORDS = {
    "short": {"short sleeve": 36, "short sleeved": 34, "short-sleeved": 16, "short-sleeve": 10,
              "half sleeve": 3},
    "long": {"long sleeve": 34, "long sleeved": 34, "long-sleeved": 18, "long-sleeve": 8,
             "full sleeve": 4},
    "sleeveless": {"sleeveless": 1},
}  # fmt: skip
GLASSES_WORDS = {
    "glasses": {"glasses": 70, "a pair of glasses": 12, "eyeglasses": 7, "eye glasses": 5,
                "spectacles": 2, "eyewear": 1},
    "sunglasses": {"sunglasses": 70, "a pair of sunglasses": 10, "dark glasses": 6,
                   "sun glasses": 6, "shades": 5, "glasses": 4},
}  # fmt: skip
BEARD_WORDS = {"a beard": 70, "facial hair": 14, "a full beard": 6, "some facial hair": 4}
BUILD_WORDS = {
    "slim": {
        "slim": 40,
        "slightly built": 2,
        "slim built": 3,
        "thin": 26,
        "slender": 20,
        "skinny": 8,
        "lean": 2,
    },
    "heavy": {
        "heavy": 24,
        "heavyset": 18,
        "heavy set": 14,
        "large": 20,
        "stocky": 10,
        "big": 10,
        "overweight": 4,
        "broad": 4,
    },
}
SKIN_WORDS = {
    "light": {"light skin": 30, "fair skin": 20, "pale skin": 10, "a fair complexion": 6},
    "tan": {"tan skin": 24, "tanned skin": 12, "lightly tanned skin": 2},
    "brown": {"brown skin": 1},
    "dark": {"dark skin": 40, "dark colored skin": 4, "a dark complexion": 12},
}
GENDER_WORDS = {
    "man": {"man": 82, "male": 7, "guy": 5, "gentleman": 2, "fellow": 1},
    "woman": {"woman": 78, "lady": 12, "female": 8},
}
NEUTRAL_WORDS = {"person": 64, "pedestrian": 18, "individual": 18}
PATTERN_ADJECTIVES = {
    "striped": {"striped": 90, "stripe": 4, "stripy": 2},
    "plaid": {"plaid": 62, "checkered": 22, "checked": 14},
    "dotted": {"polka dot": 46, "dotted": 18, "polka dotted": 12, "spotted": 12},
    "floral": {"floral": 44, "flowered": 18, "flower print": 10, "floral print": 14,
               "flower patterned": 6, "patterned": 8},
    "graphic": {"graphic": 44, "printed": 30, "patterned": 6},
}  # fmt: skip
PATTERN_TAILS = {
    "striped": {"{color} stripes": 80, "{color} striping": 4, "{color} lines": 8},
    "plaid": {"{color} checks": 3, "a {color} plaid pattern": 3},
    "dotted": {"{color} dots": 50, "{color} polka dots": 30, "{color} spots": 20},
    "floral": {"{color} flowers": 50, "a {color} floral print": 16, "a {color} flower design": 8,
               "a {color} floral pattern": 14},
    "graphic": {"a {color} graphic": 20, "a {color} design": 26, "a {color} print": 18,
                "a {color} logo": 12, "a {color} picture": 6, "a {color} pattern": 6},
}  # fmt: skip
