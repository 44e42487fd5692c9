"""Which attributes of a synthpedes person can be seen from a side."""

from jaxreid.data.synthpedes.attributes import VIEWS

_ALWAYS = ("gender", "skin", "build", "shoes_type", "shoes_color", "hat_type", "hat_color")
_TOP = ("top_type", "top_color", "top_pattern", "top_color2", "sleeves")
_BAG = ("bag_type", "bag_color", "bag_side")


def visible(person: dict[str, str], view: str) -> frozenset[str]:
    """Returns the attributes whose value a picture of the person from `view` shows.

    An attribute of value "none" counts as seen where a present part would be: a bare head is seen
    from everywhere, "no backpack" only from behind. `height` is never seen: a detector's crop
    scales everybody to the same size.

    Args:
      person: attribute -> value, without `conflicts`.
      view: one of VIEWS, the side of the person that the camera sees.

    Raises:
      ValueError: view is not one of VIEWS.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {VIEWS}, got {view!r}")
    seen = {*_ALWAYS, "scarf_color", *_hair(person, view), *_layers(person, view)}
    if person["bottom_type"] != "none":
        seen |= {"bottom_type", "bottom_color"}
    if view != "back":
        seen |= {"glasses", "beard"}
    if _bag_seen(person, view):
        seen |= set(_BAG)
    if _held_seen(person, view):
        seen |= {"held", "held_side"}
    return frozenset(seen)


def views_seen(person: dict[str, str], attribute: str) -> tuple[str, ...]:
    """Returns the views from which `attribute` can be seen, in the order of VIEWS."""
    return tuple(view for view in VIEWS if attribute in visible(person, view))


def _hair(person: dict[str, str], view: str) -> set[str]:
    length, style, hat = person["hair_length"], person["hair_style"], person["hat_type"]
    if hat != "none" and length in ("bald", "short"):
        # A cap or a brimmed hat leaves the hair at the temples free, a beanie does not.
        bearded = person["beard"] == "beard" and view != "back"  # has the colour of the hair
        return {"hair_color"} if length == "short" and (hat != "beanie" or bearded) else set()
    if style == "bun":
        # On top of the head: seen from everywhere, but a hat covers it. Its length is not.
        return {"hair_color"} if hat != "none" else {"hair_color", "hair_style"}
    if style == "ponytail" and view == "front":
        return {"hair_color"}
    return {"hair_color", "hair_length", "hair_style"}


def _layers(person: dict[str, str], view: str) -> set[str]:
    """What is seen of the top and of the layer over it."""
    outer = {"outer_type", "outer_color"}
    if person["outer_type"] == "none":
        if person["top_pattern"] == "graphic" and view != "front":  # printed on the chest
            return {*outer, "outer_open", "top_type", "top_color", "sleeves"}
        return {*outer, "outer_open", *_TOP}
    if view == "front":
        outer.add("outer_open")
    top = set()
    if person["outer_open"] == "open" and view == "front":
        top = {"top_type", "top_color", "top_pattern", "top_color2"}
    if person["top_type"] == "dress":  # its skirt shows under every outer layer
        top |= {"top_type", "top_color"}
        if person["top_pattern"] != "graphic":
            top |= {"top_pattern", "top_color2"}
    if person["outer_type"] == "vest":  # leaves the arms free
        top |= {"sleeves"} if person["sleeves"] == "sleeveless" else {"sleeves", "top_color"}
    return outer | top


def _bag_seen(person: dict[str, str], view: str) -> bool:
    side = person["bag_side"]
    if side == "back":
        return view != "front"  # from the front two straps, which many things could be
    if side == "none":
        return view == "back"  # from any other side the body could hide a bag
    return view in ("front", "back", side)


def _held_seen(person: dict[str, str], view: str) -> bool:
    side = person["held_side"]
    if side == "none":
        return view == "front"
    if view == "back":  # held before the body, except the umbrella, which hangs beside it
        return person["held"] == "umbrella"
    return view in ("front", side)
