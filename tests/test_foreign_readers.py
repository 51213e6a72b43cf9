"""Every place that opens or parses a file is known here: a new one is either `clare.foreign`, or
says why it need not be."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FOLDERS = ("clare", "cli", "data_manifests", "heads", "pipeline", "store")

METHODS = {"open", "read_text", "read_bytes", "from_pretrained", "from_single_file"}
"""That read a file whatever they belong to."""

CALLS = {
    *("open", "exec", "eval", "safe_open", "safetensors.safe_open", "read_csv"),
    *("json.load", "json.loads", "json.JSONDecoder"),
    *("tomllib.load", "tomllib.loads", "csv.reader", "csv.DictReader"),
    *("yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.unsafe_load", "pickle.load"),
    *("pickle.loads", "marshal.load", "marshal.loads", "shelve.open", "np.load", "np.fromfile"),
    *("np.memmap", "np.loadtxt", "np.genfromtxt", "torch.load", "torch.jit.load", "h5py.File"),
    *("safetensors.torch.load", "safetensors.torch.load_file", "load_file", "ijson.parse"),
    *("ijson.basic_parse", "ijson.items", "ijson.kvitems", "zarr.open_group", "zarr.open_array"),
    *("gzip.open", "bz2.open", "lzma.open", "zipfile.ZipFile", "tarfile.open", "subprocess.run"),
}

ALLOWED = {
    # This is the place.
    "clare/foreign.py": "os.open Image.open csv.DictReader csv.reader",
    "clare/bounded_yaml.py": "yaml.load",
    # The text that is run is empty.
    "clare/__main__.py": "exec os.open",
    # What is written here, or was a moment ago by this very process.
    "clare/files.py": "os.open",
    "cli/app.py": "os.open",
    "cli/options.py": "path.open",
    "heads/training/run_folder.py": "….open",
    "pipeline/faces/memory.py": "path.open",
    "pipeline/synthetic/camera.py": "Image.open",
    "clare/augmentation/photometry.py": "Image.open",
    "clare/exports/programs.py": "torch.jit.load zipfile.ZipFile",
    "clare/exports/weights.py": "json.loads safetensors.torch.load_file",
    # Values of this process, as JSON would give them back.
    "clare/models/clip.py": "json.loads",
    "clare/testing/extractor.py": "json.loads",
    "clare/testing/part.py": "json.loads",
    "pipeline/extractor.py": "json.loads",
    "store/extractor_records.py": "json.loads",
    # Files of the package and of the kernel.
    "heads/data/memory.py": "….read_text",
    "heads/report/write.py": "….read_text",
    # Python files that this user named as parts, and the list of them.
    "clare/plugins.py": "exec path.read_bytes ….open ….read_bytes ….read_text",
    # Images: a regular file of bounded size, known formats, bounded pixels.
    "pipeline/images/decode.py": "Image.open path.open",
    # An array alone, of a file that `clare.foreign` read; a pickle is refused.
    "pipeline/pairing/photos.py": "np.load",
    # Videos: a regular file in a container of a list, which leads to no other file or address.
    "pipeline/video/read.py": "av.open",
    # Lines of a bounded length, of a file that `clare.foreign` opened.
    "clare/row_file.py": "csv.reader os.open",
    "clare/parquet.py": "os.open",
    "pipeline/manifests/tables.py": "csv.reader",
    # A stream of JSON events, from a file that `clare.foreign` opened.
    "pipeline/official_lists/json_list.py": "ijson.basic_parse",
    # Weights: tensors alone, and the tokenizer of one class; nothing that they bring is run.
    "clare/models/weights.py": "safetensors.safe_open safetensors.torch.load_file torch.load",
    "clare/models/checkpoint.py": "safetensors.safe_open torch.load",
    "clare/models/inert.py": "zipfile.ZipFile",
    "clare/models/torchscript.py": "zipfile.ZipFile",
    "pipeline/models/diffusion_parts.py": "….from_pretrained",
    # Objects of a bucket, which the callers of `open_bytes` read as any other file.
    "store/bucket/files.py": "self.open",
    # A store's own files: links, pipes and folders are refused, sizes are compared first. An export
    # is opened by a child process alone, and what was a moment ago written by this one.
    "store/bucket/fence.py": "temporary.read_bytes",
    "store/bucket/mirror.py": "os.open",
    "store/bucket/room.py": "os.open",
    "store/export.py": "temporary.open stale.open ….read_bytes",
    "store/hdf5.py": "h5py.File json.loads",
    "store/hdf5_output.py": "h5py.File",
    "store/claims/locks.py": "os.open",
    "store/claims/folder_register.py": "os.open",
    "store/journal.py": "os.open",
    "store/reader.py": "os.open",
    "store/records.py": "json.JSONDecoder",
    "store/zarr_shards.py": "path.read_bytes",
}
"""By file, the calls that may stand there."""


class Call(NamedTuple):
    """A call as it stands in a file.

    Args:
        name: of what is called, as ``path.open``.
        method: whether it belongs to something.
        given: its arguments that have a name, with the value of a constant.
    """

    name: str
    method: bool
    given: dict[str | None, object]


def name_of(called: ast.expr) -> str:
    names, inner = [], called
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name):
        return ast.unparse(called)  # right for all, and slow
    return ".".join([inner.id, *reversed(names)])


@cache
def calls(file: Path) -> list[Call]:
    """All calls of a file."""
    return [
        Call(
            name_of(node.func),
            isinstance(node.func, ast.Attribute),
            {one.arg: getattr(one.value, "value", None) for one in node.keywords},
        )
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
    ]


def readers(file: Path) -> Iterator[str]:
    """The calls of a file that read, as ``path.open``; what they belong to is told if it has a
    plain name."""
    for name, method, _ in calls(file):
        last = name.rpartition(".")[2]
        if name == "RunState.open":  # it opens no file
            continue
        if name in CALLS or (method and last in METHODS):
            plain = name.count(".") == 1 and name.replace(".", "").isidentifier()
            yield name if plain or name in CALLS else f"….{last}"


def found() -> dict[str, set[str]]:
    files = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
    read = {str(file.relative_to(ROOT)): set(readers(file)) for file in sorted(files)}
    return {file: names for file, names in read.items() if names}


def test_what_reads_files_is_known():
    assert found() == {file: set(names.split()) for file, names in ALLOWED.items()}


def test_nothing_that_a_file_brings_is_run():
    """Over scripts and benchmarks too: weights alone, no TorchScript, no code of the hub's."""
    for file in (
        one
        for folder in (*FOLDERS, "benchmarks", "miniature")
        for one in (ROOT / folder).rglob("*.py")
    ):
        for name, _, given in calls(file):
            for barred in ("trust_remote_code", "allow_pickle"):
                assert barred not in given, f"{file} gives {barred}"
            assert name != "torch.load" or given.get("weights_only") is True, file
            assert not name.endswith(("pickle.load", "pickle.loads", "hub.load")), file
            assert not name.endswith("jit.load") or file.name == "programs.py", file  # its own
            assert "AutoTokenizer" not in name and "AutoModel" not in name, file
