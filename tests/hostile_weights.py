"""Files that a reader of weights must refuse, with what it is to say of each.

Their pickles are written by hand, so that nothing in them can run here either.
"""

import io
import pickle
import struct
import zipfile

STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"


def number(value: int) -> bytes:
    """A number as a pickle has it."""
    data = value.to_bytes(12, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(offset=0, shape=(2,), strides=(1,), count=4) -> bytes:
    """The operations that make a tensor on storage 0."""
    arguments = STORAGE + number(count) + b"tQ" + number(offset) + numbers(*shape)
    arguments += numbers(*strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def named(value: bytes, name: bytes = b"weight") -> bytes:
    """A pickle of a dict with one value."""
    return b"\x80\x02}X" + struct.pack("<I", len(name)) + name + value + b"s."


def archive(
    pickled: bytes, data: bytes = bytes(16), compress=zipfile.ZIP_STORED, extra=()
) -> bytes:
    """A zip archive as torch.save writes it."""
    return zipped([("x/data.pkl", pickled), ("x/data/0", data), *extra], compress)


def zipped(entries, compress=zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


def legacy(
    pickled: bytes, keys: bytes = b"\x80\x02](X\x01\x00\x00\x000e.", data: bytes | None = None
):
    """The layout before PyTorch 1.6."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    data = struct.pack("<q", 4) + bytes(16) if data is None else data
    return b"".join(pickle.dumps(value, 2) for value in head) + pickled + keys + data


def call(name: bytes, arguments: bytes = b"X\x04\x00\x00\x00true") -> bytes:
    """Calls a function of two words with one argument."""
    return b"c" + name.replace(b" ", b"\n") + b"\n(" + arguments + b"tR"


GOOD = archive(named(tensor()))
DEEP = b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."
ONE = b"}X\x01\x00\x00\x00a]s"  # a dict {"a": []}
COPY = b"c__builtin__\nlist\nh\x00\x85R"  # of the list in the memo
NAMESPACE = b"cargparse\nNamespace\n)\x81"
BROKEN = "holds a broken pickle"
NO_RUN = ": refused, nothing was run"
HOSTILE = {
    # names that are called
    "system": (archive(named(call(b"os system"))), f"asks for os.system, .*{NO_RUN}"),
    "posix": (archive(named(call(b"posix system"))), "asks for posix.system"),
    "eval": (archive(named(call(b"builtins eval"))), "asks for builtins.eval"),
    "python2": (archive(named(call(b"__builtin__ eval"))), "asks for __builtin__.eval"),
    "getattr": (archive(named(call(b"builtins getattr"))), "asks for builtins.getattr"),
    "torch_load": (archive(named(call(b"torch load"))), "asks for torch.load"),
    "hub": (archive(named(call(b"torch.hub load"))), "asks for torch.hub.load"),
    "legacy_system": (legacy(named(call(b"os system"))), "asks for os.system"),
    "plain_pickle": (b"\x80\x02" + call(b"os system") + b".", "asks for os.system"),
    "first_pickle": (pickle.dumps([1], 2), "is a pickle, but not one of torch.save"),
    "chain": (
        archive(named(b"\x8c\x0ctorch._utils\x8c\x1e_rebuild_tensor_v2.__globals__\x93")),
        "asks for torch._utils._rebuild_tensor_v2.__globals__",
    ),
    "copyreg": (archive(named(call(b"copyreg _reconstructor"))), "asks for copyreg._reconstruct"),
    "apply": (archive(named(call(b"functools partial"))), "asks for functools.partial"),
    "script_call": (archive(named(call(b"__torch__.a f"))), "calls __torch__.a.f"),
    "class_call": (archive(named(call(b"torch FloatStorage"))), "calls torch.FloatStorage"),
    "text_call": (archive(named(b"X\x01\x00\x00\x00a)R")), "calls a str"),
    # operations that make or change objects
    "inst": (archive(named(b"(X\x01\x00\x00\x00aios\nsystem\n")), "the pickle operation INST"),
    "obj": (archive(named(b"(cargparse\nNamespace\no")), "the pickle operation OBJ"),
    "newobj": (archive(named(b"ccollections\nOrderedDict\n)\x81")), "an object of collections.Ord"),
    "newobj_ex": (archive(named(NAMESPACE[:-1] + b"}\x92")), "the pickle operation NEWOBJ_EX"),
    "arguments": (archive(named(b"cargparse\nNamespace\n(K\x01t\x81")), "with arguments"),
    "ext": (archive(named(b"\x82\x01")), "the pickle operation EXT1"),
    "persid": (archive(named(b"Pos.system\n")), "the pickle operation PERSID"),
    "buffer": (archive(named(b"\x97")), "the pickle operation NEXT_BUFFER"),
    "bytearray": (archive(named(b"\x96" + struct.pack("<Q", 2**40))), BROKEN),
    "build_list": (archive(named(b"]" + ONE + b"b")), "gives a list a state"),
    "build_name": (archive(named(b"ctorch\nFloatStorage\n" + ONE + b"b")), "gives a Name a state"),
    "build_tensor": (archive(named(tensor() + ONE + b"b")), "gives a ndarray a state"),
    "build_numbers": (archive(named(NAMESPACE + b"}K\x01K\x02sb")), "a state that is no dict"),
    "build_slots": (archive(named(NAMESPACE + b"N" + ONE + b"\x86b")), "a state that is no dict"),
    "append_dict": (archive(named(b"}K\x01a")), "appends to a dict"),
    "items_list": (archive(named(b"]K\x01K\x02s")), "sets items of a list"),
    "add_list": (archive(named(b"](K\x01\x90")), "adds to a list"),
    "list_key": (archive(named(b"}]K\x02s")), "a list for a key"),
    "tuple_key": (archive(named(b"}" + b")" + b"\x85" * 9999 + b"K\x02s")), "a tuple for a key"),
    # persistent ids and storages
    "id_number": (archive(named(b"K\x01Q")), "a persistent id that is no storage"),
    "id_class": (archive(named(STORAGE.replace(b"FloatStorage", b"Tensor") + b"K\x04tQ")),
                 "a storage of torch.Tensor"),
    "id_size": (archive(named(STORAGE + b"X\x01\x00\x00\x00atQ")), "persistent id that is no stor"),
    "id_huge": (archive(named(tensor(count=2**60))), "persistent id that is no storage"),
    "id_key": (archive(named(tensor()).replace(b"\x01\x00\x00\x000", b"\x04\x00\x00\x00../0")),
               r"has no entry x/data/\.\./0"),
    "short_entry": (archive(named(tensor()), bytes(15)), "15 bytes of storage 0 of 16"),
    "no_entry": (archive(named(tensor())).replace(b"x/data/0", b"x/data/1"), "no entry x/data/0"),
    # tensors that reach out of their storage
    "offset": (archive(named(tensor(offset=3))), "element 4 of a storage of 4"),
    "far": (archive(named(tensor(offset=2**61))), "it would read other memory"),
    "stride": (archive(named(tensor(strides=(4,)))), "element 4 of a storage of 4"),
    "negative": (archive(named(tensor(offset=3, strides=(-1,)))), "numbers >= 0"),
    "negative_size": (archive(named(tensor(shape=(-1,)))), "numbers >= 0"),
    "wrap": (archive(named(tensor(shape=(2,), strides=(2**61,)))), "read other memory"),
    "huge": (archive(named(tensor(shape=(2**40, 2**40), strides=(0, 0)))), "on a storage of 4"),
    "huge_empty": (archive(named(tensor(shape=(0, 2**60), strides=(0, 0)))), "on a storage of 4"),
    "long_axes": (archive(named(tensor(shape=(1,) * 64, strides=(1,) * 64))), "64 axes with 64"),
    "one_stride": (archive(named(tensor(shape=(2, 2)))), "2 axes with 1 strides"),
    "enormous": (
        archive(named(tensor()).replace(number(0), b"\x8b\x00\x10\x00\x00" + b"\x7f" * 4096)),
        "numbers >= 0",
    ),
    "no_tuple": (archive(named(tensor()).replace(numbers(2), b"]")), "numbers >= 0"),
    "no_storage": (archive(named(b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x01K\x01K\x01tR")),
                   "with arguments of another kind"),
    "no_arguments": (archive(named(b"ctorch._utils\n_rebuild_tensor_v2\n)R")), "another kind"),
    # pickles that are broken or cost too much
    "truncated_pickle": (archive(named(tensor())[:-9]), BROKEN),
    "long_string": (archive(b"\x80\x02X\xff\xff\xff\x7fabc."), BROKEN),
    "longer_string": (archive(b"\x80\x04\x8d" + b"\xff" * 7 + b"\x00abc."), BROKEN),
    "long_number": (archive(b"\x80\x02\x8b\xff\xff\xff\x7f1."), BROKEN),
    "digits": (archive(b"\x80\x02I" + b"9" * 100_000 + b"\n."), BROKEN),
    "memo": (archive(b"\x80\x02]r\xff\xff\xff\x7fj\xff\xff\xff\x7e."), BROKEN),
    "underflow": (archive(b"\x80\x02s."), BROKEN),
    "mark": (archive(b"\x80\x02u."), BROKEN),
    "below_mark": (archive(b"\x80\x02K\x01(0."), BROKEN),
    "odd_items": (archive(b"\x80\x02}(K\x01u."), "a key without a value"),
    "unknown": (archive(b"\x80\x02\xff."), BROKEN),
    "not_a_pickle": (archive(b"weights"), BROKEN),
    "no_stop": (archive(b"\x80\x02K\x01"), BROKEN),
    "copies": (
        archive(b"\x80\x02(" + b"]" * 9999 + b"lq\x00" + COPY * 999 + b"."),
        "more than 2000000 operations",
    ),
    "recursive": (archive(b"\x80\x02]q\x00h\x00a."), "holds a list, not a state_dict"),
    "recursive_dict": (
        archive(b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."), "holds a dict under",
    ),
    "recursive_script": (
        archive(b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb."),
        "modules inside each other without an end",
    ),
    "deep": (archive(DEEP), "holds a list, not a state_dict"),
    # archives
    "compressed": (archive(named(tensor()), bytes(2**24), zipfile.ZIP_DEFLATED), "compressed"),
    "same_size": (  # said to be compressed to the very size that it has
        GOOD.replace(b"PK\x01\x02\x14\x03\x14" + bytes(5), b"PK\x01\x02\x14\x03\x14\0\0\0\x08\0"),
        "compressed",
    ),
    "elsewhere": (archive(named(tensor()), extra=[("../etc", b"")]), "leads elsewhere"),
    "absolute": (archive(named(tensor()), extra=[("/etc/x", b"")]), "leads elsewhere"),
    "two_roots": (archive(named(tensor()), extra=[("y/data.pkl", b"")]), "2 entries data.pkl"),
    "big_endian": (archive(named(tensor()), extra=[("x/byteorder", b"big")]), "little-endian"),
    "twice": (archive(named(tensor()), extra=[("x/data/1", bytes(16))]).replace(
        b"x/data/1", b"x/data/0"), "two entries x/data/0"),
    "checksum": (GOOD.replace(b"weight", b"weighs"), "checksum of x/data.pkl is wrong"),
    "no_pickle": (archive(b"").replace(b"data.pkl", b"data.txt"), "0 entries data.pkl"),
    "name_bytes": (
        archive(named(tensor()), extra=[("x/\xe9", b"")]).replace("\xe9".encode(), b"\xc3\xff"),
        "is no whole zip archive: 'utf-8'",
    ),
    "cut_archive": (GOOD[:-30], "is no whole zip archive"),
    "half": (GOOD[: len(GOOD) // 2], "is no whole zip archive"),
    "moved": (GOOD.replace(b"PK\x03\x04", b"PK\x03\x05", 2)[:4].replace(b"\x05", b"\x04")
              + GOOD[4:].replace(b"PK\x03\x04", b"PK\x03\x05"), "does not stand where"),
    # the old layout
    "old_sizes": (legacy(named(tensor()), data=struct.pack("<q", 2**40) + bytes(16)),
                  "1099511627776 elements in storage 0 of 4"),
    "old_cut": (legacy(named(tensor()), data=struct.pack("<q", 4) + bytes(15)), "is truncated"),
    "old_keys": (legacy(named(tensor()), keys=b"\x80\x02]."), "lists other storages"),
    "old_more": (legacy(named(tensor()), data=struct.pack("<q", 4) + bytes(17)), "1 bytes behind"),
    "old_big": (
        legacy(named(tensor())).replace(b"endianq\x01\x88", b"endianq\x01\x89"), "little-endian",
    ),
    "old_half": (legacy(named(tensor()))[:150], BROKEN),
    # files that are something else
    "empty": (b"", "is empty"),
    "text": (b"weights of CLIP\n" * 99, "is a text, not a file of torch.save"),
    "page": (b"<!DOCTYPE html>" + b" " * 999, "is a text"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    "tar": (b"x".ljust(257, b"\0") + b"ustar\x0000" + bytes(248), "is a tar archive"),
    "gzip": (b"\x1f\x8b" + bytes(99), "a gzip file"),
    "noise": (bytes(range(255, 0, -1)), "begins with bytes fffefd"),
    "numpy": (zipped([("weight.npy", bytes(99))]), "arrays of numpy"),
    "safetensors_cut": (b"\x20\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\"}}", "whole safetensors file"),
    "safetensors_out": (
        b"\x40\0\0\0\0\0\0\0"
        + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'.ljust(64),
        "no whole safetensors file",
    ),
}  # fmt: skip
