"""CLaRE: cached latent-reconstruction-error and CLIP features for detecting generated faces.

The Python API is what this module names; `docs/python.md` shows it at work. A name is imported when
it is first used, so that ``import clare`` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clare.errors import ClareError
    from clare.exports.export import Exported, export
    from clare.heads.checkpoints import list_checkpoints
    from clare.heads.classifiers import list_classifiers
    from clare.heads.config import TrainConfig, list_presets
    from clare.heads.data.dataset import FeatureDataset
    from clare.heads.decoders import list_decoders
    from clare.heads.evaluation.compare import compare
    from clare.heads.evaluation.comparison import Comparison
    from clare.heads.evaluation.evaluate import evaluate
    from clare.heads.evaluation.record import Evaluation
    from clare.heads.fusion import list_fusions
    from clare.heads.probing.probe import probe
    from clare.heads.probing.record import ProbeRecord
    from clare.heads.report.write import report
    from clare.heads.runs.run import Run, open_run
    from clare.heads.sweeps.call import Swept, sweep
    from clare.heads.training.train_head import train_head
    from clare.inference.import_head import import_head
    from clare.inference.predictor import load_detector, predict
    from clare.inference.stability import StabilitySettings
    from clare.inference.verdict import Verdict
    from clare.pipeline.checks.audit import audit
    from clare.pipeline.checks.check import check_manifests
    from clare.pipeline.extract import extract
    from clare.pipeline.extraction.bench import Cost, bench
    from clare.pipeline.extraction.loop import ExtractReport
    from clare.pipeline.extractors import list_extractors
    from clare.pipeline.faces.faces import faces
    from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
    from clare.pipeline.manifests.folders import build_manifest
    from clare.pipeline.manifests.sample import Manifest
    from clare.pipeline.pairing.pairs import pairs
    from clare.plugins import trust
    from clare.store.feature_store import FeatureStore, open_store
    from clare.version import __version__

_HOMES = {
    "ClareError": "clare.errors",
    "Comparison": "clare.heads.evaluation.comparison",
    "Cost": "clare.pipeline.extraction.bench",
    "Evaluation": "clare.heads.evaluation.record",
    "compare": "clare.heads.evaluation.compare",
    "report": "clare.heads.report.write",
    "Exported": "clare.exports.export",
    "ExtractReport": "clare.pipeline.extraction.loop",
    "FeatureDataset": "clare.heads.data.dataset",
    "FeatureStore": "clare.store.feature_store",
    "Manifest": "clare.pipeline.manifests.sample",
    "ProbeRecord": "clare.heads.probing.record",
    "Run": "clare.heads.runs.run",
    "StabilitySettings": "clare.inference.stability",
    "Swept": "clare.heads.sweeps.call",
    "TrainConfig": "clare.heads.config",
    "Verdict": "clare.inference.verdict",
    "__version__": "clare.version",
    "audit": "clare.pipeline.checks.audit",
    "bench": "clare.pipeline.extraction.bench",
    "build_manifest": "clare.pipeline.manifests.folders",
    "check_manifests": "clare.pipeline.checks.check",
    "evaluate": "clare.heads.evaluation.evaluate",
    "export": "clare.exports.export",
    "extract": "clare.pipeline.extract",
    "faces": "clare.pipeline.faces.faces",
    "import_head": "clare.inference.import_head",
    "list_checkpoints": "clare.heads.checkpoints",
    "list_classifiers": "clare.heads.classifiers",
    "list_decoders": "clare.heads.decoders",
    "list_extractors": "clare.pipeline.extractors",
    "list_fusions": "clare.heads.fusion",
    "list_presets": "clare.heads.config",
    "load_detector": "clare.inference.predictor",
    "open_run": "clare.heads.runs.run",
    "open_store": "clare.store.feature_store",
    "pairs": "clare.pipeline.pairing.pairs",
    "predict": "clare.inference.predictor",
    "probe": "clare.heads.probing.probe",
    "read_manifest": "clare.pipeline.manifests.csv_io",
    "sweep": "clare.heads.sweeps.call",
    "train_head": "clare.heads.training.train_head",
    "trust": "clare.plugins",
    "write_manifest": "clare.pipeline.manifests.csv_io",
}

__all__ = [
    "ClareError",
    "Comparison",
    "Cost",
    "Evaluation",
    "Exported",
    "ExtractReport",
    "FeatureDataset",
    "FeatureStore",
    "Manifest",
    "ProbeRecord",
    "Run",
    "StabilitySettings",
    "Swept",
    "TrainConfig",
    "Verdict",
    "__version__",
    "audit",
    "bench",
    "build_manifest",
    "check_manifests",
    "compare",
    "evaluate",
    "export",
    "extract",
    "faces",
    "import_head",
    "list_checkpoints",
    "list_classifiers",
    "list_decoders",
    "list_extractors",
    "list_fusions",
    "list_presets",
    "load_detector",
    "open_run",
    "open_store",
    "pairs",
    "predict",
    "probe",
    "read_manifest",
    "report",
    "sweep",
    "train_head",
    "trust",
    "write_manifest",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
