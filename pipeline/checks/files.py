"""Whether the files of a manifest are still what it says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from clare.errors import ImageError, InputError
from clare.pipeline.checks.check import Finding
from clare.pipeline.manifests.headers import THREADS
from clare.pipeline.manifests.masks import find_empty_masks
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.wording import counted


class FileCheck:
    """Looks at every file that a manifest lists, where its root is known.

    Args:
        roots: where paths start; rows of other roots are not looked at.
        decode: whether each image and mask is decoded, which finds files that break off in the
            middle and masks of fakes that mark nothing.
    """

    def __init__(self, roots: Roots, *, decode: bool = False) -> None:
        self._roots = roots
        self._decode = decode

    def __call__(self, manifest: Manifest) -> Iterator[Finding]:
        """One warning a kind of damage that the manifest does not record yet."""
        samples = [sample for sample in manifest.samples if sample.status == "ok"]
        known = {root for root in {s.root for s in samples} if self._is_known(root, samples)}
        faults: dict[str, list[str]] = {}
        with ThreadPoolExecutor(THREADS) as pool:
            looked = [sample for sample in samples if sample.root in known]
            for sample, fault in zip(looked, pool.map(self._look, looked), strict=True):
                if fault:
                    faults.setdefault(fault, []).append(f"{sample.sample_id} ({sample.path})")
        for fault, rows in sorted(faults.items()):
            what = f"{counted(len(rows), 'file')} {fault}, which the manifest does not know"
            yield Finding(manifest.name, False, what, tuple(rows), ("build it again",))
        if not self._decode:
            return
        masks = find_empty_masks(looked, self._mask, limit=None)
        if masks.rows:
            names = [f"{sample.sample_id} ({sample.mask_path})" for sample in masks.rows]
            yield Finding(manifest.name, False, str(masks), tuple(names))

    def _mask(self, sample: Sample) -> Path:
        return self._roots.resolve(sample, sample.mask_path)

    def _is_known(self, root: str, samples: list[Sample]) -> bool:
        try:
            self._roots.resolve(next(sample for sample in samples if sample.root == root))
        except InputError:
            return False
        return True

    def _look(self, sample: Sample) -> str:
        from clare.pipeline.images.decode import MissingDecoderError, decode_rgb, read_content

        path = self._roots.resolve(sample)
        try:
            size = path.stat().st_size
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
