"""The index of a gallery: its images, encoded by a run, and a fingerprint that knows them again."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxreid.data.prepared import decode_image
from jaxreid.files import write_npz
from jaxreid.search.load import Searcher, encode_images

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_VERSION = 1  # of the files of an index


class Gallery(NamedTuple):
    """N images that can be searched."""

    images: Sequence[np.ndarray]  # images[i] is u8[h, w, 3], decoded when asked for
    files: tuple[str, ...]  # relative to the folder
    embedding: np.ndarray  # f32[N, E], of the run that encoded them
    person_id: np.ndarray | None  # i32[N]; None where nobody knows
    fingerprint: str  # of the files, their content and the run


class FolderImages(Sequence[np.ndarray]):
    """The images of a folder, decoded one at a time."""

    def __init__(self, folder: Path, files: Sequence[str]):
        self._folder, self._files = folder, files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        """u8[h, w, 3], RGB; ValueError names the file that cannot be decoded."""
        path = self._folder / self._files[index]
        try:
            return decode_image(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"gallery image {path}: {error}") from error


def index_folder(searcher: Searcher, folder: str | Path, cache_dir: str | Path = "") -> Gallery:
    """Returns the index of all images below a folder, in the order of their paths.

    The index is kept in `cache_dir`, by default FOLDER.index beside the folder, under a name made
    of the content of the files and of the run: a changed file or run encodes anew.

    Args:
      searcher: from `load_run`.
      folder: of the images; folders inside are searched, too.
      cache_dir: folder of indices.

    Raises:
      FileNotFoundError: there is no such folder, or it holds no image.
      ValueError: an image cannot be decoded; names the file.
    """
    folder = Path(folder).expanduser().absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"the gallery must be a folder of images, got {folder}")
    paths = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    files = tuple(sorted(p.relative_to(folder).as_posix() for p in paths))
    if not files:
        raise FileNotFoundError(
            f"no image in {folder}; the names of images end with {', '.join(SUFFIXES)}"
        )
    digest = hashlib.sha256()
    for name in files:
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    images = FolderImages(folder, files)
    cache = Path(cache_dir).expanduser() if cache_dir else folder.with_name(f"{folder.name}.index")
    return _index(searcher, images, files, None, digest.hexdigest(), cache)


def index_split(searcher: Searcher, name: str, cache_dir: str | Path) -> Gallery:
    """Returns the index of a split of the data set of a run, with the ids of its people.

    Args:
      searcher: from `load_run`.
      name: "train" | "val" | "test".
      cache_dir: folder of indices.
    """
    split = searcher.parts.split(name)
    said = repr((split.data_set, split.split, split.captions)).encode()
    digest = hashlib.sha256("\0".join(split.files).encode() + said).hexdigest()
    chosen = np.arange(len(split.files)) if split.gallery is None else split.gallery
    files = tuple(split.files[i] for i in chosen)
    images = _Chosen(split.images, chosen)
    ids = np.asarray(split.person_id)[chosen]
    return _index(searcher, images, files, ids, digest, Path(cache_dir).expanduser())


class _Chosen(Sequence[np.ndarray]):
    """Some images of a split."""

    def __init__(self, images: Sequence[np.ndarray], chosen: np.ndarray):
        self._images, self._chosen = images, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._images[int(self._chosen[index])]


def _index(searcher: Searcher, images, files, ids, content: str, cache: Path) -> Gallery:
    """The index from the cache, or made and kept there."""
    key = hashlib.sha256(f"{_VERSION} {content} {searcher.fingerprint}".encode()).hexdigest()[:16]
    path = cache / f"embedding-{key}.npz"
    embedding = read_array(path, "embedding")
    if embedding is None or len(embedding) != len(files):
        logging.info("encoding %d images", len(files))
        embedding = encode_images(searcher, images, files)
        keep(path, {"embedding": embedding})
    return Gallery(images, files, embedding, ids, key)


def read_array(path: Path, name: str) -> np.ndarray | None:
    """Returns an array of an .npz file; None if it is not there or cannot be read."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except Exception as error:  # a damaged archive raises many things; it is made again
        logging.warning("%s cannot be read and is made again: %s", path, error)
        return None


def keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays to a cache; where that cannot be, the log says so."""
    try:
        write_npz(path, arrays)
    except OSError as error:
        logging.warning("%s cannot be written, it will be made again: %s", path, error)
