"""A recording on disk: what was seen in many episodes, without actions and rewards.

    manifest.json                    what was recorded, and each part's size and checksum
    part-00000.parquet, ...          one row per moment; an episode's last row is its final observation

Columns of a part: `episode` and `step` (int32), and each array of the observation, flattened, as a fixed-size list of
its own dtype; the shapes are in the manifest. An episode is a row group, compressed with zstd. Any reader of Parquet
can read it; ours checks everything first, since a recording may come from elsewhere.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import envs
from agents import ObservationSpec
from agents.reading import check_fields, check_types, first_line, json_of
from marl.files import whole

FORMAT = "tandem-recording-1"
MANIFEST = "manifest.json"
PART_FIELDS = {"file": str, "episodes": int, "rows": int, "bytes": int, "sha256": str, "return_mean": float}
"""Fields of a part's entry; return_mean is over its episodes and agents, for people, not for learning."""
_FIELDS = {
    "format": str, "env": dict, "spec": dict, "policy": list, "seed": int, "deterministic": bool, "complete": bool,
    "parts": list,
}  # fmt: skip
MOST_PARTS = 100_000
"""Their names have five digits."""
_PART_NAME = re.compile(r"part-\d{5}\.parquet")


@dataclass(frozen=True)
class Recording:
    """An opened recording."""

    folder: Path
    manifest: dict[str, Any]
    spec: ObservationSpec
    """Of the observations, as a network for the recorded environment needs it."""

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The entries of the parts (PART_FIELDS), in the order of their episodes."""
        return self.manifest["parts"]

    @property
    def env(self) -> envs.EnvConfig:
        """The recorded environment. Raises ValueError if it is not one of ours."""
        env = envs.from_json(self.manifest["env"])
        check_types(env)
        return env

    @property
    def num_episodes(self) -> int:
        return sum(part["episodes"] for part in self.parts)

    @property
    def num_steps(self) -> int:
        """Environment steps: moments but for each episode's first."""
        return sum(part["rows"] - part["episodes"] for part in self.parts)

    @property
    def num_bytes(self) -> int:
        """Size of the parts on disk."""
        return sum(part["bytes"] for part in self.parts)

    @property
    def return_mean(self) -> float:
        """Mean return of an episode, mean over agents; NaN without episodes."""
        total = sum(part["return_mean"] * part["episodes"] for part in self.parts)
        return total / self.num_episodes if self.parts else math.nan

    def episodes(self, part: int) -> list[envs.Obs]:
        """The episodes of a part as arrays [T + 1, ...] by observation key.

        Raises: ValueError in one sentence for a part that cannot be read, or holds what the manifest does not say.
        """
        path, entry = self.folder / self.parts[part]["file"], self.parts[part]
        try:
            with pq.ParquetFile(path) as file:
                if not file.schema_arrow.equals(_schema(self.spec)):
                    raise ValueError("its columns are not those of the manifest's observations")
                if (file.num_row_groups, file.metadata.num_rows) != (entry["episodes"], entry["rows"]):
                    raise ValueError("its numbers of episodes and rows are not those of the manifest")
                return [self._episode(file.read_row_group(group)) for group in range(file.num_row_groups)]
        except (ValueError, OSError, pa.ArrowException) as error:
            raise ValueError(f"{path} cannot be read as a part of a recording: {first_line(error)}") from None

    def _episode(self, table: pa.Table) -> envs.Obs:
        episode = {}
        for key, shape in self.spec.shapes.items():
            column = table[key].combine_chunks()
            if column.null_count or column.values.null_count:
                raise ValueError(f"the column {key!r} has gaps")
            value = column.flatten().to_numpy(zero_copy_only=False)
            episode[key] = value.reshape(len(table), *shape)
        _check_values(episode, self.spec)
        return episode

    def check_fits(self, spec: ObservationSpec) -> None:
        """Raises ValueError in one sentence where a network for `spec` cannot learn from this recording."""
        if not self.num_episodes:
            raise ValueError(f"{self.folder} holds no episode yet; finish it with `tandem record`")
        if self.spec.env != spec.env:
            raise ValueError(f"{self.folder} is a recording of {self.spec.env}, not of {spec.env}")
        differences = spec.differences(self.spec)
        if differences:
            raise ValueError(f"the recording {self.folder} does not fit {spec.env}: {differences[0]}")


def open_recording(folder: str | Path, *, verify: bool = True) -> Recording:
    """Opens a recording, finished or not.

    Args: verify: also compare every part with its checksum, which reads it once.
    Raises: ValueError in one sentence for a folder without manifest, a manifest that is none, or a part that is
    missing, truncated or changed.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a recording: it has no {MANIFEST} (`tandem record` makes recordings)")
    with json_of(path, "a manifest") as manifest:
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']!r}, this version reads {FORMAT!r}")
        check_fields(manifest, _FIELDS)
        spec = ObservationSpec.from_json(manifest["spec"])
        for policy in manifest["policy"]:
            check_fields(policy, {"name": str, "sha256": str | None}, "a policy")
        for number, part in enumerate(manifest["parts"]):
            _check_part(part, number)
    recording = Recording(folder, manifest, spec)
    for part in recording.parts:
        _verify(folder / part["file"], part, verify)
    return recording


def write_manifest(recording: Recording) -> None:
    """Writes manifest.json whole. Raises ValueError if the system refuses."""
    with whole(recording.folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(recording.manifest, indent=2) + "\n")


def part_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


class PartWriter:
    """Writes one part, an episode at a time, in order."""

    def __init__(self, path: Path, spec: ObservationSpec) -> None:
        """path: a temporary name (see `marl.files.whole`)."""
        self._path, self._spec, self._schema = path, spec, _schema(spec)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_statistics=False)
        self._rows, self._returns = 0, []

    def add(self, number: int, episode: envs.Obs, return_mean: float) -> None:
        """Adds an episode, arrays [T + 1, ...], with its number in the recording and its return, mean over agents."""
        rows = len(episode["mask"])
        columns: list[Any] = [pa.array(np.full(rows, number, np.int32)), pa.array(np.arange(rows, dtype=np.int32))]
        for key in self._spec.shapes:
            columns.append(pa.FixedSizeListArray.from_arrays(
                pa.array(episode[key].reshape(-1)), type=self._schema.field(key).type
            ))  # fmt: skip
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=rows)
        self._rows += rows
        self._returns.append(return_mean)

    def finish(self, file: str) -> dict[str, Any]:
        """Closes the part and returns its entry in the manifest, where it will be called `file`."""
        self._writer.close()
        return {
            "file": file,
            "episodes": len(self._returns),
            "rows": self._rows,
            "bytes": self._path.stat().st_size,
            "sha256": _sha256(self._path),
            "return_mean": float(np.mean(self._returns)),
        }

    def close(self) -> None:
        """Gives up; closing twice, or after `finish`, is fine."""
        if self._writer.is_open:
            self._writer.close()


def _schema(spec: ObservationSpec) -> pa.Schema:
    fields = [pa.field("episode", pa.int32()), pa.field("step", pa.int32())]
    for key, shape in spec.shapes.items():
        item = pa.field("element", pa.from_numpy_dtype(np.dtype(spec.dtypes[key])))
        fields.append(pa.field(key, pa.list_(item, math.prod(shape))))
    return pa.schema(fields)


def _check_part(part: Any, number: int) -> None:
    """Raises ValueError for an entry that cannot be one; a file outside the folder is never opened."""
    check_fields(part, PART_FIELDS, f"part {number}")
    if not _PART_NAME.fullmatch(part["file"]) or part["file"] != part_name(number):
        raise ValueError(f"part {number} is called {part['file'][:80]!r}, not {part_name(number)!r}")
    if not 1 <= part["episodes"] <= part["rows"]:
        raise ValueError(f"part {number} has {part['rows']} rows in {part['episodes']} episodes")


def _check_values(episode: envs.Obs, spec: ObservationSpec) -> None:
    """Raises ValueError for numbers that would break a network: ids beyond the vocabulary, rows of nobody, NaN."""
    for key, value in episode.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{key!r} has a value that is not finite")
    if spec.view_vocab is not None and episode["view"].max() >= spec.view_vocab:
        raise ValueError(f"'view' has id {episode['view'].max()}, beyond the {spec.view_vocab} known ids")
    if episode["who"].min() < -1 or episode["who"].max() >= spec.num_entities:
        raise ValueError(f"'who' points beyond the {spec.num_entities} entities")


def _verify(path: Path, part: dict[str, Any], checksum: bool) -> None:
    """Raises ValueError where a part is not the file that its entry describes."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; the manifest names it")
    size = path.stat().st_size
    if size != part["bytes"]:
        how = "truncated" if size < part["bytes"] else "too long"
        raise ValueError(f"{path} is {how}: {size} bytes, the manifest says {part['bytes']}")
    if checksum and _sha256(path) != part["sha256"]:
        raise ValueError(f"{path} was changed or damaged: its checksum is not the one in the manifest")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
