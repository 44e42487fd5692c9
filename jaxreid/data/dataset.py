"""Opens a split of any data set: prepares it once, then reads captions at once, images lazily."""

import contextlib
import difflib
import importlib
import io
import json
import operator
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import ExifTags, Image, ImageOps

from jaxreid.data import published
from jaxreid.data.records import AnnotationError, Split

# Data set -> module and class of its TFDS builder.
_PUBLISHED = {
    "cuhk_pedes": ("jaxreid.data.cuhk_pedes", "CuhkPedes"),
    "icfg_pedes": ("jaxreid.data.icfg_pedes", "IcfgPedes"),
    "rstpreid": ("jaxreid.data.rstpreid", "Rstpreid"),
}
_RENDERED = {"synthpedes": ("jaxreid.data.synthpedes.builder", "Synthpedes")}
DATA_SETS = (*_PUBLISHED, *_RENDERED)
SPLITS = ("train", "val", "test")
# Rendered people in their second outfit, the targets of composed queries.
CHANGED_SPLITS = ("train_changed", "val_changed", "test_changed")
# Somebody else in both outfits of each of those, who is no answer to them.
TWIN_SPLITS = ("val_twins", "test_twins")


def open_split(
    name: str,
    split: str,
    *,
    data_dir: str | Path,
    manual_dir: str | Path | None = None,
    variant: str | None = None,
    allow_partial: bool = False,
    caption_limit: int | None = None,
    val_people: int = 0,
) -> Split:
    """Returns a split, after preparing its data set under `data_dir` if that was not done yet.

    Prepared data is keyed by the content of the annotation files and by the options that change
    it, so that a changed file or option prepares anew. Image files are copied into it: later
    changes to images alone are not seen.

    Args:
      name: one of DATA_SETS.
      split: one of SPLITS; of a rendered data set also of CHANGED_SPLITS and TWIN_SPLITS.
      data_dir: folder of prepared data.
      manual_dir: published folder of the data set or its parent. None: take what was prepared
        with these options before. Data sets that are rendered here have none.
      variant: builder config of a rendered data set, e.g. "tiny"; None is its default.
      allow_partial: go on where a published data set is incomplete, see `PublishedConfig`.
      caption_limit: keep the first so many captions of each image; None keeps all.
      val_people: train people held out as "val", see `PublishedConfig`.

    Raises:
      ValueError: an argument is unknown or does not fit the data set.
      FileNotFoundError: there is neither prepared data nor a published folder to prepare.
      AnnotationError: the published files cannot be used, or prepared data is damaged.
    """
    if name not in DATA_SETS:
        raise ValueError(_unknown("data set", name, DATA_SETS))
    splits = (*SPLITS, *CHANGED_SPLITS, *TWIN_SPLITS) if name in _RENDERED else SPLITS
    if split not in splits:
        raise ValueError(_unknown("split", split, splits))
    if caption_limit is not None and caption_limit < 1:
        raise ValueError(f"caption_limit must be None or at least 1, got {caption_limit}")
    if val_people < 0:
        raise ValueError(f"val_people must be at least 0, got {val_people}")
    data_dir = Path(data_dir).expanduser().absolute()  # workers may run in another folder
    if name in _PUBLISHED:
        if variant is not None:
            raise ValueError(f"variant must be None for {name}, got {variant!r}")
        directory = _prepare_published(name, split, data_dir, manual_dir, allow_partial, val_people)
    else:
        if manual_dir is not None or allow_partial or val_people:
            raise ValueError(
                f"{name} is rendered: manual_dir, allow_partial and val_people must be "
                f"None, False and 0, got {manual_dir}, {allow_partial} and {val_people}"
            )
        directory = rendered_folder(name, data_dir, variant)
    return _read(name, split, directory, caption_limit)


class LazyImages(Sequence[np.ndarray]):
    """The images of a prepared split; each is read and decoded when it is asked for.

    Pickles as three names: a worker process opens the files for itself.
    """

    def __init__(self, data_set: str, split: str, directory: Path, files: tuple[str, ...]):
        self._data_set, self._split, self._directory = data_set, split, directory
        self._files = files
        self._source = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        """u8[h, w, 3], RGB; AnnotationError names the file if its pixels cannot be decoded."""
        index = range(len(self._files))[operator.index(index)]
        if self._source is None:
            self._source = _records(self._data_set, self._split, self._directory)
        where = f"{self._data_set} {self._split} in {self._directory}"
        try:
            encoded = self._source[index]["image"]
        except Exception as error:  # array_record raises what its C++ reader finds
            raise AnnotationError(where, index, "image", f"cannot be read: {error}") from error
        try:
            return decode_image(encoded)
        except ValueError as error:
            raise AnnotationError(
                where, index, "image", f"{self._files[index]} {error}"
            ) from error.__cause__

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_source": None}


def decode_image(encoded: bytes) -> np.ndarray:
    """Returns u8[h, w, 3], RGB, of an encoded image, turned upright where EXIF says how.

    16-bit grey keeps its upper byte; alpha is dropped; of an animation the first frame is taken.

    Raises:
      ValueError: the bytes are no image of `published.IMAGE_FORMATS`, are damaged or hold more
        than `published.MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=published.IMAGE_FORMATS) as image:
            width, height = image.size
            if width * height > published.MAX_PIXELS:
                raise ValueError(f"{width} x {height} is more than {published.MAX_PIXELS} pixels")
            if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # convert("RGB") would clip 16 bits at 255
                grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception as error:  # readers of broken files raise far more than OSError
        raise ValueError(f"cannot be decoded: {error}") from error


def _prepare_published(
    name: str,
    split: str,
    data_dir: Path,
    manual_dir: str | Path | None,
    allow_partial: bool,
    val_people: int,
) -> Path:
    """Folder of prepared data of a published data set."""
    module, builder_class = _load(_PUBLISHED[name])
    layout = module.LAYOUT
    if val_people and "val" in layout.counts:
        raise ValueError(
            f"val_people must be 0 for {name}, which has a val split; got {val_people}"
        )
    if split not in layout.counts and not (split == "val" and val_people):
        raise ValueError(
            f"{name} has no split {split!r}; val_people > 0 holds so many people out of train "
            f"as val, and without it the splits are {', '.join(layout.counts)}"
        )
    options = ("-partial" if allow_partial else "") + (f"-val{val_people}" if val_people else "")
    if manual_dir is None:
        return _prepared(name, data_dir, options, str(builder_class.VERSION))
    manual_dir = Path(manual_dir).expanduser()
    source = published.locate(layout, manual_dir, allow_partial=allow_partial)
    config = published.PublishedConfig(
        name=f"{source.sha256[:16]}{options}", allow_partial=allow_partial, val_people=val_people
    )
    return _prepare(builder_class, data_dir, config, manual_dir)


def _prepared(name: str, data_dir: Path, options: str, version: str) -> Path:
    """The one folder prepared with these options, whatever the annotation files were."""
    found = [
        folder
        for folder in sorted((data_dir / name).glob(f"*/{version}"))
        if folder.parent.name[16:] == options and len(folder.parent.name) >= 16
    ]
    if not found:
        raise FileNotFoundError(
            f"{data_dir} holds no prepared {name} with these options (allow_partial, val_people); "
            f"set manual_dir to the published folder of {name}"
        )
    if len(found) > 1:
        raise ValueError(
            f"{data_dir} holds {name} prepared from different annotation files "
            f"({', '.join(folder.parent.name for folder in found)}); set manual_dir to say which"
        )
    return found[0]


def rendered_folder(name: str, data_dir: Path, variant: str | None) -> Path:
    """Returns the folder of prepared data of a data set rendered here, rendering it if needed.

    Args:
      name: of the rendered data set.
      data_dir: folder of prepared data, absolute.
      variant: builder config; None is the default.

    Raises:
      ValueError: there is no such variant.
    """
    _, builder_class = _load(_RENDERED[name])
    configs = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    if variant is None:
        variant = builder_class.BUILDER_CONFIGS[0].name
    if variant not in configs:
        raise ValueError(_unknown(f"variant of {name}", variant, tuple(configs)))
    return _prepare(builder_class, data_dir, configs[variant], None)


def _prepare(
    builder_class: type[tfds.core.GeneratorBasedBuilder],
    data_dir: Path,
    config: tfds.core.BuilderConfig,
    manual_dir: Path | None,
) -> Path:
    """Folder of prepared data; TFDS writes beside it and renames, so it is whole or absent."""
    name = builder_class.name
    directory = data_dir / name / config.name / str(builder_class.VERSION)
    if directory.is_dir():
        return directory
    logging.info("preparing %s in %s; this is done once", name, directory)
    builder = builder_class(data_dir=str(data_dir), config=config)
    tfds.disable_progress_bar()  # the log says how far it is, also where there is no terminal
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # announces a download that is none
            builder.download_and_prepare(
                file_format="array_record",
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir, try_download_gcs=False
                ),
            )
    except (OSError, RuntimeError) as error:  # array_record raises RuntimeError on a full disk
        # Another process may have prepared the same meanwhile: then its folder is as good.
        if directory.is_dir():
            return directory
        raise OSError(f"{name} could not be prepared in {data_dir}: {error}") from error
    for split, info in sorted(builder.info.splits.items()):
        logging.info("prepared %s %s: %d images", name, split, info.num_examples)
    return directory


def _read(name: str, split: str, directory: Path, caption_limit: int | None) -> Split:
    """A split of a prepared folder."""
    index = _captions(name, split, directory)
    files = tuple(index["file"])
    return Split(
        data_set=name,
        split=split,
        images=LazyImages(name, split, directory, files),
        files=files,
        person_id=np.asarray(index["person_id"], np.int32),
        captions=tuple(tuple(captions[:caption_limit]) for captions in index["captions"]),
    )


def _captions(name: str, split: str, directory: Path) -> dict[str, list]:
    """Files, ids and captions of a split, from a side file that spares reading all images.

    The side file is written after every record was read once, so it also says that the records
    are readable. A missing or broken one is made again.
    """
    side = directory / f"captions-{split}.json"
    source = _records(name, split, directory)
    keys = ("file", "person_id", "captions")
    with contextlib.suppress(OSError, ValueError, TypeError):
        index = json.loads(side.read_bytes())
        if isinstance(index, dict) and [len(index.get(key, ())) for key in keys] == [
            len(source)
        ] * len(keys):
            return index
    index = {key: [] for key in keys}
    try:
        for i in range(len(source)):
            record = source[i]
            index["file"].append(record["file"].decode())
            index["person_id"].append(int(record["person_id"]))
            index["captions"].append([caption.decode() for caption in record["captions"]])
    except Exception as error:  # array_record raises what its C++ reader finds
        raise _damaged(name, split, directory, error) from error
    try:
        _write_whole(side, json.dumps(index, ensure_ascii=False).encode())
    except OSError as error:
        logging.warning("%s could not be written, captions stay slow to read: %s", side, error)
    return index


def _records(name: str, split: str, directory: Path) -> Sequence[dict[str, Any]]:
    """The records of a split with images as encoded bytes."""
    try:
        builder = tfds.builder_from_directory(str(directory))
        splits = sorted(builder.info.splits)
        if split in splits:
            # DeserializeMethod.DESERIALIZE_NO_DECODE needs TensorFlow; skipping decoders do not
            return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:  # a missing or truncated shard
        raise _damaged(name, split, directory, error) from error
    raise ValueError(f"{name} in {directory} has no split {split!r}, only {', '.join(splits)}")


def _damaged(name: str, split: str, directory: Path, error: Exception) -> AnnotationError:
    """The error of prepared data that cannot be read."""
    return AnnotationError(
        directory, None, None, f"prepared {name} {split} is damaged, delete the folder: {error}"
    )


def _write_whole(path: Path, data: bytes) -> None:
    """Writes a file as a whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _load(where: tuple[str, str]) -> tuple[Any, type[tfds.core.GeneratorBasedBuilder]]:
    """Module and class of a builder."""
    module = importlib.import_module(where[0])
    return module, getattr(module, where[1])


def _unknown(what: str, value: str, allowed: Sequence[str]) -> str:
    """Message about a name that is not among the allowed ones."""
    near = difflib.get_close_matches(value, allowed, 1)
    hint = f" (is {near[0]!r} meant?)" if near else ""
    return f"unknown {what} {value!r}{hint}; allowed are {', '.join(allowed)}"
