"""What Hugging Face's data sets are kept in → tables: Parquet files, folders that `datasets` saved, and data sets by name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlx.runtime.errors import DataError, MissingExtraError
from tlx.runtime.json_files import RowNumbers
from tlx.runtime.shards import split_named
from tlx.runtime.tables import Table

__all__ = ["is_name", "is_saved", "read_named", "read_parquet", "read_saved"]

_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<part>[\w.-]+))?(:(?P<split>\w+(\[[^\]]*\])?))?")
SPELLING = "owner/name, owner/name:configuration or owner/name:configuration:split, as nyu-mll/glue:sst2"
DICT, STATE = "dataset_dict.json", "state.json"
REASON = 300  # characters of what the library says


def is_name(source: str | Path) -> bool:
    """Whether it may be the name of a data set: it has the form, and no suffix as files have."""
    found = _NAME.fullmatch(str(source))
    return found is not None and not Path(found["name"]).suffix


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of datasets wrote the folder."""
    return (folder / DICT).is_file() or (folder / STATE).is_file()


def read_named(name: str, split: str) -> Table:
    """The data set of that name: what stands behind the first colon is its configuration, or else its split.

    The split may be cut as datasets does it: `imdb:train[:1000]`. Raises DataError with what the library says.
    """
    datasets = _library(f"{name} is no file; loading it as a Hugging Face data set")
    found = _NAME.fullmatch(name)
    repository, part, asked = (found["name"], found["part"], found["split"]) if found else (name, None, None)
    try:
        try:
            data = datasets.load_dataset(repository, part, split=asked or split)
        except ValueError:
            if part is None or asked is not None:
                raise
            data = datasets.load_dataset(repository, split=part)
    except Exception as error:  # the library raises dozens of kinds, network ones among them
        reason = " ".join(str(error).split())[:REASON] or type(error).__name__
        raise DataError(
            f"{name} is no file, and cannot be loaded as a Hugging Face data set (which is spelt {SPELLING}): {reason}"
        ) from error
    return _table(name, data)


def read_saved(folder: Path, split: str) -> Table:
    """The data set that `save_to_disk` wrote; of several splits the one asked for."""
    datasets = _library(f"{folder}: reading what datasets saved")
    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # of Arrow, JSON or the file system
        reason = " ".join(str(error).split())[:REASON] or type(error).__name__
        raise DataError(f"{folder} is not readable as what datasets saved: {reason}") from error
    if isinstance(data, dict):
        found = split_named(list(data), split)
        if found is None:
            raise DataError(f"{folder} has no split {split} (it has: {', '.join(data)}): name the folder of one")
        folder, data = folder / found, data[found]
    return _table(str(folder), data)


def read_parquet(path: Path) -> Table:
    """The file's table. Raises DataError where it is damaged, or a class number has no name."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data", f"{path}: reading Parquet") from error
    try:
        found = pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    columns = found.to_pydict()
    if not columns:
        raise DataError(f"{path} has no columns: wanted a text column")
    features = _features(found.schema.metadata or {})
    named = {name: _named(features.get(name), values, f"{path}: column {name!r}") for name, values in columns.items()}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Table(source=str(path), columns=named, lines=RowNumbers(found.num_rows), sha256=digest)


def _library(purpose: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "data", purpose) from error
    return datasets


def _table(source: str, data: Any) -> Table:
    features = data.features.to_dict()
    columns = {
        column: _named(features.get(column), data[column][:], f"{source}: column {column!r}")
        for column in data.column_names
    }
    fingerprint = getattr(data, "_fingerprint", "")  # datasets' own: another one where the rows are others
    return Table(source=source, columns=columns, lines=RowNumbers(len(data)), sha256=fingerprint)


def _features(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """What Hugging Face's datasets wrote into a Parquet file about its columns; {} where another program wrote the file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _named(feature: Any, values: list[Any], where: str) -> list[Any]:
    """Class numbers as the names that the column's feature (as datasets writes it in JSON) has for them; -1, which is none, as "-1"
    among others and as None where there are no others.

    Lists of them (ner_tags) too; other values as they are. Raises DataError for a number that has no name.
    """
    if isinstance(feature, list) and len(feature) == 1:  # how old versions write a list
        feature = {"feature": feature[0]}
    if not isinstance(feature, dict):
        return values
    if feature.get("_type") != "ClassLabel":
        inner = feature.get("feature")
        if not isinstance(inner, dict) or inner.get("_type") != "ClassLabel":
            return values
        return [None if value is None else _named(inner, value, where) for value in values]
    names = feature.get("names") or []
    unnamed = next((v for v in values if isinstance(v, int) and not -1 <= v < len(names)), None)
    if unnamed is not None:
        raise DataError(
            f"{where} holds the class {unnamed}, but its metadata name {len(names)}: write the data set again"
        )
    nothing = None if all(value in (-1, None) for value in values) else "-1"
    return [(nothing if value == -1 else names[value]) if isinstance(value, int) else value for value in values]
