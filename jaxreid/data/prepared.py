"""Prepared data sets on disk: written once by TFDS, then read image by image."""

import contextlib
import io
import operator
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import ExifTags, Image, ImageOps

from jaxreid.data import published
from jaxreid.data.records import AnnotationError


def prepare(
    builder_class: type[tfds.core.GeneratorBasedBuilder],
    data_dir: Path,
    config: tfds.core.BuilderConfig,
    manual_dir: Path | None,
) -> Path:
    """Returns the folder of prepared data, which is made if it is not there.

    TFDS writes beside it and renames, so it is whole or absent.
    """
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


def prepare_published(
    builder_class: type[tfds.core.GeneratorBasedBuilder],
    data_dir: Path,
    manual_dir: str | Path | None,
    sha256: Callable[[Path], str],
    *,
    allow_partial: bool,
    val_people: int,
) -> Path:
    """Returns the folder of prepared data of a published data set, keyed by files and options.

    Args:
      builder_class: of the data set, of PublishedConfig.
      data_dir: folder of prepared data, absolute.
      manual_dir: published folder; None takes what was prepared with these options before.
      sha256: (published folder) -> hex digest of its annotation files.
      allow_partial, val_people: as in `PublishedConfig`.

    Raises:
      FileNotFoundError: manual_dir is None and nothing was prepared.
      ValueError: manual_dir is None and different files were prepared.
    """
    options = ("-partial" if allow_partial else "") + (f"-val{val_people}" if val_people else "")
    if manual_dir is None:
        return _prepared_before(builder_class.name, data_dir, options, str(builder_class.VERSION))
    manual_dir = Path(manual_dir).expanduser()
    config = published.PublishedConfig(
        name=f"{sha256(manual_dir)[:16]}{options}",
        allow_partial=allow_partial,
        val_people=val_people,
    )
    return prepare(builder_class, data_dir, config, manual_dir)


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
            self._source = read_records(self._data_set, self._split, self._directory)
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


def read_records(name: str, split: str, directory: Path) -> Sequence[dict[str, Any]]:
    """The records of a split with images as encoded bytes."""
    try:
        builder = tfds.builder_from_directory(str(directory))
        splits = sorted(builder.info.splits)
        if split in splits:
            # DeserializeMethod.DESERIALIZE_NO_DECODE needs TensorFlow; skipping decoders do not
            return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except Exception as error:  # a missing or truncated shard
        raise damaged(name, split, directory, error) from error
    raise ValueError(f"{name} in {directory} has no split {split!r}, only {', '.join(splits)}")


def damaged(name: str, split: str, directory: Path, error: Exception) -> AnnotationError:
    """The error of prepared data that cannot be read."""
    return AnnotationError(
        directory, None, None, f"prepared {name} {split} is damaged, delete the folder: {error}"
    )


def write_whole(path: Path, data: bytes) -> None:
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


def _prepared_before(name: str, data_dir: Path, options: str, version: str) -> Path:
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
