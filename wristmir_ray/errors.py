"""Errors of a run, and codes of a row.

    WristmirError
      ConfigError (ValueError)   the run asks for something impossible; before any work   exit 2
      NotPublished               an input table has no manifest                            exit 2
      IndexMismatch              index and encoder come from different checkpoints         exit 2
      EndpointRefuses            a service refuses whatever it is asked                    exit 2
      EndpointGone               a service that the run needs went away for good           exit 1
      WorkerFails                a worker of a stage does not start, as with wrong weights  exit 2
      TrainingDiverged           the loss is no number: another try would end the same      exit 2
      TooManyRejects             more rejects than the budget, found before costly work     exit 3
      StoreFailed (OSError)      a disk is full, a store is away or refuses                exit 1
      SchemaError (TypeError)    a batch does not match its declared table: our bug        exit 1

A bad *row* is not an exception: it is a row whose `error` column holds an `ErrorCode`.
"""

from enum import StrEnum


class WristmirError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code = 1


class ConfigError(WristmirError, ValueError):
    """The run asks for something impossible; raised before any work is done."""

    exit_code = 2


class NotPublished(WristmirError):
    """An input table has no published run."""

    exit_code = 2


class IndexMismatch(WristmirError):
    """An index and an encoder come from different checkpoints."""

    exit_code = 2


class EndpointRefuses(WristmirError):
    """A service refuses whatever it is asked: a wrong model, token or setting; what is done is kept."""

    exit_code = 2


class EndpointGone(WristmirError):
    """A service that the run needs went away and did not come back; what is done is kept, a rerun resumes."""


class WorkerFails(WristmirError):
    """A worker of a stage does not start: weights that are not there, a device that is too small."""

    exit_code = 2


class TrainingDiverged(WristmirError):
    """The loss is not a number: settings or data are at fault, and another try would end the same."""

    exit_code = 2


class StoreFailed(WristmirError, OSError):
    """Nothing can be written or read: a disk is full, a store is away; what is done is kept, a rerun resumes."""


class SchemaError(WristmirError, TypeError):
    """A batch does not match its declared table."""


EXIT_TOO_MANY_REJECTS = 3


class TooManyRejects(WristmirError):
    """More rows were rejected than `max_reject_share` allows; costly work on the rest was not begun."""

    exit_code = EXIT_TOO_MANY_REJECTS


class ErrorCode(StrEnum):
    """Why a row was rejected; the closed vocabulary of every table's `error` column."""

    # ingest, imaging
    SOURCE_UNREADABLE = "source_unreadable"
    """The object could not be fetched, or vanished between listing and reading."""
    SOURCE_CHANGED = "source_changed"
    """The object's pixels are not those that ingest has seen: it was replaced since."""
    EMPTY_FILE = "empty_file"
    UNKNOWN_FORMAT = "unknown_format"
    """Neither DICOM nor PNG nor JPEG, whatever its name says."""
    CORRUPT_IMAGE = "corrupt_image"
    NO_PIXELS = "no_pixels"
    """A DICOM object that carries no image (a report, a plan, a directory)."""
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    """A transfer syntax or sample format that no installed decoder reads."""
    COLOUR_IMAGE = "colour_image"
    MULTI_FRAME = "multi_frame"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_SMALL = "image_too_small"
    NO_CONTRAST = "no_contrast"
    """Every pixel has the same value."""
    NOT_RADIOGRAPH = "not_radiograph"
    """The header names another modality (CT, MR, US, ...)."""
    NOT_WRIST = "not_wrist"
    """The header or the table names another body part, or the ends of radius and ulna are not in the image."""
    VIEW_NOT_PA = "view_not_pa"
    METADATA_CONFLICT = "metadata_conflict"
    """Header, table and report disagree on the patient's side, or two objects of one exam on its patient or side."""
    DUPLICATE_EXAM = "duplicate_exam"
    IDENTIFIED = "identified"
    """The de-identification gate found direct identifiers in the header: quarantine."""
    BURNED_IN_TEXT = "burned_in_text"
    """The gate found what may be lines of text in the pixels, or the header says so: quarantine."""

    # mining
    EMPTY_REPORT = "empty_report"
    REPORT_TOO_LONG = "report_too_long"
    NOT_A_WRIST_REPORT = "not_a_wrist_report"
    NOT_ENGLISH = "not_english"
    """The report is in a language that mining does not read."""
    INVALID_RECORD = "invalid_record"
    NO_ANSWER = "no_answer"
    """The language model gave none: its endpoint, its engine or the time ran out; `failure_class` says which."""
    NO_REPORT = "no_report"
    """An exam without a report has no caption."""
    NO_FINDINGS = "no_findings"
    """The exam's report was rejected by mining."""
    NOTHING_REPORTED = "nothing_reported"
    """The exam's report has neither a finding nor a denial that a quote carries: it makes no normal exam."""

    # preprocess, retrieval
    NO_WRIST = "no_wrist"
    UPSIDE_DOWN = "upside_down"
    """The image is not upright: the detectors see the wrist once it is turned by 180 degrees."""
    TWO_WRISTS = "two_wrists"
    """The image shows both wrists: neither can be said to be the exam's."""
    NO_REGION = "no_region"
    """The detector did not find this bone: a fact, not a failure."""
    STAGE_FAILED = "stage_failed"
    """A stage raised on this row; the message names the exception's type alone."""


QUARANTINE = (ErrorCode.IDENTIFIED, ErrorCode.BURNED_IN_TEXT)
"""Rejects that a person may look at and release."""


class Reject(Exception):
    """One row cannot be used. Raised inside a stage, caught there, stored in the row's error columns.

    The message must name no patient and quote no report or header text.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def columns(self, stage: str) -> dict[str, str]:
        """Return the three error columns of a reject row."""
        return {"error": self.code.value, "error_stage": stage, "error_message": self.message}


def reject_columns(error: Exception, stage: str) -> dict[str, str]:
    """Return the error columns for any exception; an unforeseen one is named by its type alone.

    Raises:
        StoreFailed: `error` is one: it is no fault of the row's.
    """
    if isinstance(error, StoreFailed):
        raise error
    if isinstance(error, Reject):
        return error.columns(stage)
    return Reject(ErrorCode.STAGE_FAILED, type(error).__name__).columns(stage)
