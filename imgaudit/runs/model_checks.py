"""The checks of a model that a run holds, as model_checks.json. Reading them needs no library of models."""

from pydantic import ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.writing import read_json
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.model_checks import ModelChecks
from imgaudit.schema.problems import describe_problem


def read_model_checks(run: RunFolder) -> ModelChecks | None:
    """Read the checks of a run; None for runs made before models were checked.

    Raises RunFolderError when the file is damaged.
    """
    if not run.model_checks_path.is_file():
        return None
    try:
        return ModelChecks.model_validate(read_json(run.model_checks_path))
    except (ValidationError, ValueError) as error:
        reason = describe_problem(error) if isinstance(error, ValidationError) else error
        raise RunFolderError(
            f"{str(run.model_checks_path)!r} is damaged ({reason}): delete it and audit again"
        ) from error
