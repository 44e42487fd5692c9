"""Records which fields of a config the package reads, by section and name."""

import contextlib
import os
import sys

import pytest
from ml_collections import ConfigDict

import jaxreid

PACKAGE = os.path.dirname(os.path.abspath(jaxreid.__file__))
# Reading a field only to check it is no use of it.
_CHECKS = ("config.py", "arguments.py")


@contextlib.contextmanager
def recorded_reads():
    """Yields a set that grows by (fields of the section, field) with every read."""
    reads = set()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("__getattr__", "__getitem__"):
            patch.setattr(ConfigDict, name, _noting(getattr(ConfigDict, name), reads))
        yield reads


def _noting(original, reads):
    """The method of ConfigDict, noting what the package asks it for."""

    def read(self, key):
        folder, file = os.path.split(sys._getframe(1).f_code.co_filename)
        if folder.startswith(PACKAGE) and file not in _CHECKS:
            reads.add((_fields(self), key))
        return original(self, key)

    return read


def _fields(section):
    """The names in a section, by which copies of it are known."""
    return frozenset(section.keys())


def unread(config, reads, prefix=""):
    """Names of the fields of a config that are not among the reads."""
    names = []
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            names += unread(value, reads, f"{prefix}{key}.")
        elif (_fields(config), key) not in reads:
            names.append(f"{prefix}{key}")
    return names
