"""The exceptions of imgaudit.

    ImgauditError                 base of everything below
    +-- InputError                what the user gave cannot be used (exit 2)
    |   +-- ConfigError           an option, key or recipe is unknown or out of range
    |   +-- ImageError            one image cannot be read; a batch records it and continues
    |   +-- RunFolderError        a run folder is locked, damaged or made by another protocol
    |   +-- CalibrationError      a null bank does not belong to this model and protocol
    |   +-- IndexRefusedError     a collection's files are damaged or do not match its manifest
    +-- ModelRefusedError         the model cannot or may not be loaded (exit 4)
    +-- MemoryShortageError       not even one image at a time fits into memory (exit 2)
    +-- DeviceError               the device failed, and this process cannot use it any more (exit 2)
    +-- WorkerError               processes that measure cannot be started, or hold another model (exit 2)
    +-- OfflineError              something tried to open a connection although that is forbidden (exit 2)
    +-- UndefinedConversionError  a quantity does not exist at this timestep (never a number)
    +-- VerificationError         recorded and recomputed evidence differ (exit 5)

Every message says what was expected, what came and what to do.
"""


class ImgauditError(Exception):
    """Base class of every exception that imgaudit raises on purpose."""


class InputError(ImgauditError):
    """Something the user passed cannot be used as it is."""


class ConfigError(InputError):
    """An option or configuration key is unknown or has a value outside its range."""


class ImageError(InputError):
    """One image cannot be read safely; the reason is the message."""


class RunFolderError(InputError):
    """A run folder is held by another process, damaged, or belongs to another audit."""


class CalibrationError(InputError):
    """A null bank was made with another model or protocol, or cannot be read."""


class IndexRefusedError(InputError):
    """A collection of vectors is damaged or unfinished, or does not match its manifest."""


class ModelRefusedError(ImgauditError):
    """The model cannot be loaded, or loading it would not be safe."""


class MemoryShortageError(ImgauditError):
    """The device's memory does not suffice for a single image; smaller batches have been tried."""


class DeviceError(ImgauditError):
    """The device failed in a way that the process cannot recover from; a new process may be able to use it."""


class WorkerError(ImgauditError):
    """Processes that measure cannot be started, or hold another model than the command."""


class OfflineError(ImgauditError):
    """A connection was refused because the user asked to stay offline."""


class UndefinedConversionError(ImgauditError):
    """A prediction cannot be converted at this timestep, because the formula divides by zero."""


class VerificationError(ImgauditError):
    """Recorded evidence does not agree with what is on disk or was recomputed."""
