"""The errors that a user can cause, in one tree; the command line prints each as one sentence.

::

    ClareError
    ├── InputError          a setting, a path or a file that the user named is not usable
    │   ├── ManifestError   a manifest breaks a rule; the message names the rows
    │   └── WeightsError    model weights are not on disk and can't be fetched
    ├── ImageError          one image can't be used; its row is recorded as failed
    └── StoreError          the feature store can't do what was asked
        ├── CorruptStoreError   stored bytes are not what was written; names subset, field and row
        ├── LostClaimError      this process was held up, and another took over what it wrote
        ├── RowUnavailableError the row has no value: pending, or failed at extraction
        └── DiskSpaceError      the disk is, or would become, full

Anything else that escapes is a bug and keeps its traceback.
"""

from clare.advice import PYTHON, Advice, Wording, say


class ClareError(Exception):
    """Base of every error that a user can cause; its text is one clear sentence.

    Args:
        what: is wrong. It names settings in words, never as options of a command line.
        advice: what would mend it, one of these being enough; each caller words it its own way.
    """

    def __init__(self, what: str, *advice: Advice) -> None:
        super().__init__(what, *advice)  # all of it: an error may cross processes
        self.what = what
        self.advice = advice

    def worded(self, wording: Wording) -> str:
        """The sentence, with settings and operations as a caller spells them."""
        return say(self.what, self.advice, wording)

    def __str__(self) -> str:
        return self.worded(PYTHON)


class InputError(ClareError):
    """A setting, a path or a file that the user named is not usable."""


class ManifestError(InputError):
    """A manifest breaks a rule; the message names the rows."""


class WeightsError(InputError):
    """Model weights are not on disk and can't be fetched, or are not the ones asked for."""


class ImageError(ClareError):
    """One image can't be used; extraction records its row as failed with this reason."""


class StoreError(ClareError):
    """The feature store can't do what was asked."""


class CorruptStoreError(StoreError):
    """Stored bytes are not what was written; the message names subset, field and row."""


class LostClaimError(StoreError):
    """This process was held up for so long that another took over what it was writing."""


class RowUnavailableError(StoreError):
    """A row has no value to serve: it is pending, or failed at extraction."""


class DiskSpaceError(StoreError):
    """The disk is full, or the work ahead would fill it."""
