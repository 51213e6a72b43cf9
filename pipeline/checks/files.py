"""Whether the files of a manifest are still what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from clare.errors import ImageError, InputError
from clare.pipeline.checks.check import Finding
from clare.pipeline.manifests.headers import THREADS
from clare.pipeline.manifests.masks import look_at_masks
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.store.bucket.files import Stats, file_threads
from clare.wording import counted

_PART = 32
"""Files that a thread takes at once."""


class FileCheck:
    """Looks at every file that a manifest lists, where its root is known.

    Args:
        roots: where paths start; rows of other roots are not looked at.
        decode: whether each image and mask is decoded, which finds files that break off in the
            middle and what is wrong with masks; see `look_at_masks`.
    """

    def __init__(self, roots: Roots, *, decode: bool = False) -> None:
        self._roots = roots
        self._decode = decode

    def __call__(self, manifest: Manifest, reals: Sequence[Sample] = ()) -> Iterator[Finding]:
        """One warning a kind of damage that the manifest does not record yet.

        Args:
            manifest: whose files are looked at.
            reals: rows of other manifests that its fakes may be made from.
        """
        samples = [sample for sample in manifest.samples if sample.status == "ok"]
        known = {root for root in {s.root for s in samples} if self._is_known(root, samples)}
        faults: dict[str, list[str]] = {}
        with file_threads(THREADS) as pool:
            looked = [sample for sample in samples if sample.root in known]
            parts = [looked[start : start + _PART] for start in range(0, len(looked), _PART)]
            found = chain.from_iterable(pool.map(self._look_at, parts))
            for sample, fault in zip(looked, found, strict=True):
                if fault:
                    faults.setdefault(fault, []).append(f"{sample.sample_id} ({sample.path})")
        for fault, rows in sorted(faults.items()):
            what = f"{counted(len(rows), 'file')} {fault}, which the manifest does not know"
            yield Finding(manifest.name, False, what, tuple(rows), ("build it again",))
        if not self._decode:
            return
        for one in look_at_masks(looked, self._roots.resolve, reals=reals, limit=None, pairs=None):
            names = one.named(lambda sample: f"{sample.sample_id} {sample.mask_path}".rstrip())
            yield Finding(manifest.name, False, one.what, tuple(names), one.advice)

    def _is_known(self, root: str, samples: list[Sample]) -> bool:
        try:
            self._roots.resolve(next(sample for sample in samples if sample.root == root))
        except InputError:
            return False
        return True

    def _look_at(self, samples: Sequence[Sample]) -> list[str]:
        paths = [self._roots.resolve(sample) for sample in samples]
        stats = Stats(paths)
        return [self._look(*one, stats) for one in zip(samples, paths, strict=True)]

    def _look(self, sample: Sample, path: Path, stats: Stats) -> str:
        from clare.pipeline.images.decode import MissingDecoderError, decode_rgb, read_content

        try:
            size = stats.of(path).st_size
        except OSError:
            return "missing"
        if size == 0:
            return "empty"
        if sample.bytes is not None and size != sample.bytes:
            return "of another size"
        if self._decode:
            try:
                decode_rgb(read_content(path))
            except MissingDecoderError:
                return ""  # the installation's lack, not the file's
            except ImageError:
                return "not decodable"
        return ""
