"""A whole experiment on folders: trained on some fakes, tested on all, told on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.advice import PYTHON, LeaveOut, Name, Set, Wording
from clare.advice import Run as RunFirst
from clare.columns import MaskFake
from clare.errors import InputError
from clare.heads.config import Machine, TrainConfig
from clare.pipeline.datasets.plain_folders import REAL_POOL
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extraction.presets import merge_settings
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.towers import require_one_tower
from clare.pipeline.extractors import find_extractor, list_extractors
from clare.pipeline.manifests.mask_folders import mask_folders
from clare.pipeline.manifests.roots import split_option
from clare.plugins import part_name
from clare.progress import StepProgress
from clare.settings import build_settings
from clare.store.bucket.files import file_place
from clare.wording import counted, listed, name_rows

if TYPE_CHECKING:
    from clare.heads.evaluation.record import EvaluationRecord
    from clare.heads.report.blocks import Page
    from clare.heads.training import trainer
    from clare.pipeline.extraction.loop import ExtractReport
    from clare.pipeline.extraction.plan import Observer
    from clare.pipeline.manifests.sample import Manifest

PAGE = "report.html"
"""The page in the run's folder."""


@dataclass(frozen=True)
class Experiment:
    """Folders in, a tested detector out, in four steps that each do only what is missing.

    The images of a manipulation that is not trained on are all for tests; where ``rules`` read
    people from names, those of people whom training does not show. Reals, and the fakes that are
    trained on, are split: no test image is seen in training.

    Args:
        real: folders of real images.
        fake: ``NAME=DIR``: folders of generated images, each name a manipulation.
        extraction: how features are made; of extractors, those that the detector reads.
        config: of the training; ``train`` names the manipulations that are trained on, all of
            them if empty.
        out: the run's folder, which also gets the page.
        device: of all steps: auto, cpu, cuda, cuda:1…
        rules: how names of folders are read: fields of `FolderRules`.
        command: that asked for it, word by word; it is recorded.
        masks: ``DIR`` or ``NAME=DIR``: folders of the fakes' masks, for a decoder.
        mask_fake: what of the masks is fake; white if None.

    Raises:
        InputError: a name, a part or the folder is not usable; said before any image is read.
    """

    real: Sequence[Path]
    fake: Sequence[str]
    extraction: ExtractSettings
    config: TrainConfig
    out: Path
    device: str = "auto"
    rules: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()
    masks: Sequence[str] = ()
    mask_fake: MaskFake | None = None

    def __post_init__(self) -> None:
        for setting, given in (("real", self.real), ("fake", self.fake)):
            if not given:
                raise InputError(
                    f"no folder of {setting} images is named", Name("one", setting, _FORM[setting])
                )
        names = self.manipulations
        if strange := sorted(set(self.config.train) - set(names)):
            raise InputError(
                f"{listed(strange)} is trained on, but no folder of fakes has this name",
                Name(f"some of {', '.join(names)}", "train"),
            )
        fakes = [split_option("fake", one)[1] for one in self.fake]
        for folder in (*map(file_place, self.real), *map(file_place, fakes)):
            if not folder.is_dir():
                raise InputError(f"{folder} is no folder: name a folder of images")
        _ = mask_folders(self.masks, self.mask_fake)
        require_one_tower(self.extraction.settings)
        _ = self.settings
        self._refuse_another_run(None)

    @property
    def manipulations(self) -> tuple[str, ...]:
        """The names of the fakes, in their order."""
        found = [split_option("fake", one)[0] or "fake" for one in self.fake]
        return tuple(dict.fromkeys(found))

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The manipulations that are trained on."""
        return self.config.train or self.manipulations

    @cached_property
    def settings(self) -> ExtractSettings:
        """How features are made: those that the detector reads, as its preset was published with.

        Raises:
            InputError: there is no such part, it reads a field of no extractor of the package, or
                masks are needed or named in vain.
        """
        from clare.heads.detector import (
            blocks_read,
            fields_of,
            find_classifier,
            find_fusion,
            needs_text,
            tower_fields,
        )
        from clare.heads.layers.steps import SEVERAL
        from clare.heads.localizer import find_decoder, mask_field
        from clare.models.tuned import find_tuning

        detector = self.config.detector
        find = {
            "fusion": find_fusion,
            "classifier": find_classifier,
            "decoder": find_decoder,
            "tune": find_tuning,
        }
        for kind, part in detector.parts.items():
            declared: Any = find[kind](part)
            build_settings(part, declared.Settings, getattr(detector, f"{kind}_settings"))
        head = part_name(detector.decoder or detector.fusion)
        self._check_masks(head)
        wanted = {"clip"} if needs_text(detector) else set()
        # Of a tower that is tuned the fields say which it is, and its pixels follow its size.
        fields = [*fields_of(detector), *tower_fields(detector).values()]
        if blocks_read(detector):
            raise InputError(
                f"{detector.way} begins behind a block of the tower, and which one that is follows "
                "from the tower in the store",
                "extract, train and evaluate one after the other",
            )
        fields += [mask_field(detector)] if self.masks else []
        for name in fields:
            owner = [one for one in list_extractors() if f"{name}_".startswith(f"{one}_")]
            if not owner:
                raise InputError(
                    f"no extractor here makes the field {name} that {head} reads",
                    "extract, train and evaluate one after the other",
                )
            wanted.update(owner)
        given = self.extraction.settings
        unread = sorted(set(given) - wanted)
        if idle := [f"{part}.{name}" for part in unread for name in given[part]]:
            raise InputError(f"{head} reads no {listed(idle)}", LeaveOut(*idle))
        published = {name: self.config.extracted.get(name, {}) for name in sorted(wanted)}
        if layers := tuple(name.removeprefix(_LAYER) for name in fields if name.startswith(_LAYER)):
            published["clip"] = {"layers": layers, **published["clip"]}
        own = merge_settings(published, given)
        if "fusion" in detector.parts and find_fusion(detector.fusion).follows_steps:
            lare: Any = find_extractor("lare").Settings
            steps = build_settings("lare", lare, own.get("lare", {})).timesteps
            if len(steps) < 2:
                raise InputError(
                    f"{head} reads LaRE over several noise steps, and one alone is extracted",
                    Set("lare.timesteps", SEVERAL["lare.timesteps"], effect="takes several"),
                )
        return replace(
            self.extraction,
            device=self.device,
            features=tuple(sorted(wanted)),
            settings={name: values for name, values in own.items() if values},
        )

    def _check_masks(self, head: str) -> None:
        if self.masks and not self.config.detector.decoder:
            raise InputError(f"{head} takes no masks, which are a decoder's", LeaveOut("masks"))
        if not self.masks and (self.config.needs_masks("train") or self.config.needs_masks("val")):
            raise InputError(
                f"decoder {head} learns from masks of its fakes, or is chosen by them",
                Name("their folder", "masks", "DIR"),
            )

    def extract(self, observer: Observer) -> ExtractReport:
        """Extract what the store lacks.

        Raises:
            InputError: the images are not usable, or too few for three splits.
            WeightsError: model weights are not on disk and can't be fetched.
            DiskSpaceError: the store's disk is too small; said before any model runs.
        """
        from clare.pipeline.extraction.job import run_job

        settings = self.settings
        # All of their images would be all of the people, and nobody would be left to train on.
        unseen = () if self.rules.get("identities") else self.manipulations
        selection = select_manifests(
            None,
            [],
            Path(),
            [],
            self.real,
            self.fake,
            masks=mask_folders(self.masks, self.mask_fake),
            rules=self.rules,
            test_only=[name for name in unseen if name not in self.trained_on],
            notice=observer.noticed,
            progress=observer.indexing,
        )
        manifests = [manifest for manifest, _ in selection]
        for manifest in manifests:
            self._require_splits(manifest)
        if settings.store.exists():
            self._refuse_other_rows(manifests)
        return run_job(settings, selection, observer, self.command)

    def _require_splits(self, manifest: Manifest) -> None:
        """Refuse too few images: for a test of what is not trained on, for all splits of others."""
        name, kind = manifest.name, "real" if manifest.name == REAL_POOL else "fake"
        there = {sample.split for sample in manifest.samples}
        needed = ("train", "val", "test") if name in (REAL_POOL, *self.trained_on) else ("test",)
        for split in needed:
            if split not in there:
                raise InputError(
                    f"no images of {name} are left for split {split}",
                    Name("folders with more images or videos", kind),
                )

    def _refuse_other_rows(self, manifests: Sequence[Manifest]) -> None:
        """Refuse a store of other images or splits: runs made from it would not be the same."""
        from clare.store.feature_store import open_store

        path = self.extraction.store
        store = open_store(path)
        for manifest in manifests:
            name = manifest.name
            if name not in store.subsets():
                continue
            own = {sample.sample_id: sample.split for sample in manifest.samples}
            stored = {row.sample_id: row.columns.get("split") for row in store.rows(name)}
            if others := sorted(stored.keys() - own.keys()):
                raise InputError(
                    f"{path} has {counted(len(others), 'image')} of {name} that these folders "
                    f"don't hold: {name_rows(others)}",
                    Name("another", "store"),
                    RunFirst(
                        "store.drop",
                        (path,),
                        {"subset": name},
                        effect="removes that subset",
                    ),
                )
            if moved := sorted(one for one, split in stored.items() if split != own[one]):
                raise InputError(
                    f"{path} has {counted(len(moved), 'image')} of {name} in another split than "
                    f"now, and runs made from it count on that: {name_rows(moved)}",
                    Name("another", "store"),
                )

    def too_many_failed(self, made: ExtractReport) -> bool:
        """Whether more of the images failed than may, those of earlier calls among them.

        Args:
            made: by `extract`.
        """
        from clare.store.feature_store import open_store

        store, rows, failed = open_store(self.extraction.store), 0, 0
        for subset in (*self.manipulations, REAL_POOL):
            rows += len(store.rows(subset))
            slots: set[int] = set()
            for name, key in made.fingerprints.items():
                slots |= store.feature(subset, name, key.rpartition("-")[2]).failures().keys()
            failed += len(slots)
        return failed > self.extraction.allowed_failures * rows

    def train(self, made: ExtractReport, observer: trainer.Observer) -> bool:
        """Train the head, or go on with it; a finished run stays.

        Args:
            made: by `extract`.
            observer: is told how it goes.

        Returns:
            Whether anything was left to train.

        Raises:
            InputError: the run's folder holds another run, or one of other rows.
        """
        from clare.heads.runs.record import is_finished
        from clare.heads.sweeps.preflight import check_rows
        from clare.heads.training.trainer import train_run
        from clare.models.runtime import choose_runtime
        from clare.store.feature_store import open_store

        digests = {name: key.rpartition("-")[2] for name, key in made.fingerprints.items()}
        config = self._settled(digests)
        store = open_store(self.extraction.store)
        if is_finished(self.out):
            self._refuse_another_run(digests)
            check_rows(store, {self.out: config}, {})
            return False
        machine = Machine(device=choose_runtime(self.device).device)
        train_run(config, store, self.out, machine, observer, self.command)
        return True

    def test(self, progress: StepProgress) -> EvaluationRecord:
        """Test it on every manipulation, beside what needs no training.

        Raises:
            InputError: the rows are not usable.
        """
        from clare.heads.evaluation.record import read_evaluation
        from clare.heads.sweeps.tests import SweepTests
        from clare.models.runtime import choose_runtime
        from clare.store.feature_store import open_store

        tests = SweepTests(
            open_store(self.extraction.store),
            self.manipulations,
            device=choose_runtime(self.device).device,
            progress=progress,
            baselines=True,
            command=self.command,
        )
        tests(self.out)
        for failure in tests.failures.values():
            raise failure
        return read_evaluation(self.out)

    def report(self, wording: Wording = PYTHON) -> Page:
        """Write its page."""
        from clare.heads.report.write import report

        return report([self.out], self.out / PAGE, command=self.command, wording=wording)

    def _settled(self, digests: Mapping[str, str]) -> TrainConfig:
        return replace(
            self.config,
            train=self.trained_on,
            reals=(REAL_POOL,),
            domains=(),
            protocol=None,
            features=dict(digests),
        )

    def _refuse_another_run(self, digests: Mapping[str, str] | None) -> None:
        """Refuse a folder that holds a run of other settings; of other features where known."""
        from clare.heads.runs.record import is_run, read_record

        if not is_run(self.out):
            return
        there = read_record(self.out).config
        known = there.features if digests is None else digests
        old, new = there.to_json(), self._settled(known).to_json()
        differing = [name for name in new if old[name] != new[name]]
        if differing:
            named = ", ".join(f"{n} was {old[n]} and is {new[n]}" for n in differing[:3])
            raise InputError(
                f"{self.out} holds another run ({named})", Name("another folder", "out")
            )


_LAYER = "clip_tokens_"
"""How the fields of CLIP's further layers begin."""

_FORM = {"real": "DIR", "fake": "NAME=DIR"}
