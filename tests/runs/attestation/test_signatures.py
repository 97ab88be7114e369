"""A run is signed and checked; a wrong key, content, run or kind is named, and so is a missing signature."""

import base64
import builtins
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import InputError, RunFolderError, VerificationError
from imgaudit.io.writing import read_json, write_json
from imgaudit.report.verification import verify
from imgaudit.runs.attestation.envelope import find_signers, read_envelope, sign_payload
from imgaudit.runs.attestation.keys import make_key, read_private_key, read_public_key
from imgaudit.runs.attestation.libraries import PACKAGES
from imgaudit.runs.attestation.place import Place, copy_attestations
from imgaudit.runs.attestation.signatures import check_file_signatures, check_signatures, sign
from imgaudit.runs.attestation.statement import read_statement, state_file
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.verification.agreement import CONSISTENT
from imgaudit.runs.verification.files import REWRITTEN
from imgaudit.schema.attestation import (
    CHAIN,
    FILE_PREDICATE,
    PAYLOAD_TYPE,
    RUN_PREDICATE,
    FilePredicate,
    RunPredicate,
)
from imgaudit.schema.config import PASSPHRASE_VARIABLE
from tests.support.wrapping import unwrap


def no_question() -> str:
    raise AssertionError("an unprotected key needs no passphrase")


def public(key: Path) -> Path:
    return key.with_name("signer.pub.pem")


def test_a_signed_run_verifies_with_the_public_key_alone(copy: RunFolder, key: Path, tmp_path: Path) -> None:
    written = sign(copy.path, key, no_question)
    assert written.parent == copy.path / "attestations" and written.name.endswith(".dsse.json")
    key.unlink()
    check = check_signatures(copy, [public(key)])
    assert not check.problems and not check.not_done
    assert "the result is signed by key" in check.done and "signer.pub.pem" in check.done
    outcome = verify(copy.path, public_keys=[public(key)])
    assert outcome.matches and check in outcome.checks
    # Whoever wrote evidence.json again could not have signed it, so that question is answered.
    before, after = (
        {one for check in found.checks for one in check.not_done} for found in (verify(copy.path), outcome)
    )
    assert before >= {REWRITTEN, CONSISTENT} and not after & {REWRITTEN, CONSISTENT}
    # The statement is what any in-toto tool reads.
    statement = read_statement(read_envelope(written.read_bytes()).payload)
    names = {subject.name: subject.digest for subject in statement.subject}
    assert {"evidence.json", "manifest.json", "report.json", "head"} <= set(names)
    assert names["head"] == {"imgauditChain": outcome.head} and statement.predicate_type == RUN_PREDICATE
    assert names["evidence.json"].keys() == {"sha256"} and statement.predicate["head"] == outcome.head


def test_without_keys_signatures_are_listed_as_not_checked(copy: RunFolder, key: Path) -> None:
    assert check_signatures(copy).not_done == ("signatures: there is none",)
    sign(copy.path, key, no_question)
    (said,) = check_signatures(copy).not_done
    assert "signatures: 1" in said and read_public_key(public(key)).id[:16] in said and "--key" in said
    assert not check_signatures(copy).done and verify(copy.path).matches


def test_a_run_is_verified_without_the_extra_packages(
    copy: RunFolder, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(copy.path, key, no_question)
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        monkeypatch.delitem(sys.modules, name)
    true_import = builtins.__import__

    def refuse(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] in PACKAGES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return true_import(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert verify(copy.path).matches
    for demand in ({"public_keys": [public(key)]}, {"tsa_roots": [public(key)]}):
        with pytest.raises(InputError, match=r"pip install 'imgaudit\[evidence\]'"):
            verify(copy.path, **demand)


def test_what_is_no_signature_is_said_to_be_covered_by_nothing(copy: RunFolder, key: Path) -> None:
    sign(copy.path, key, no_question)
    (copy.path / "attestations" / "letter.pdf").write_text("x")
    (copy.path / "attestations" / "folder").mkdir()
    for keys in ([], [public(key)]):
        said = check_signatures(copy, keys).not_done[-1]
        assert "2 files in attestations/" in said and "'letter.pdf'" in said
    for number in range(300):
        (copy.path / "attestations" / f"{number}.dsse.json").write_text("x")
    with pytest.raises(RunFolderError, match="more than 200 files"):
        check_signatures(copy)


def test_each_mismatch_is_named(copy: RunFolder, key: Path, tmp_path: Path) -> None:
    keys = [public(key)]
    assert "there is no signature" in check_signatures(copy, keys).problems[0]
    written = sign(copy.path, key, no_question)
    other = make_key(tmp_path / "other.pem", "")
    wrong = check_signatures(copy, [other.path])
    assert f"no signature here is by key {other}" in wrong.problems[0] and "was not given" in wrong.not_done[0]
    both = check_signatures(copy, [*keys, other.path])
    assert f"no signature here is by key {other}" in both.problems[0]

    content = read_json(written)
    payload = json.loads(base64.b64decode(content["payload"]))
    payload["predicate"]["head"] = "0" * 64
    edited = {**content, "payload": base64.b64encode(json.dumps(payload).encode()).decode()}
    write_json(written, edited)
    (problem,) = check_signatures(copy, keys).problems
    assert written.name in problem and "was changed after it was signed" in problem
    write_json(written, {**content, "payloadType": "text/plain"})
    assert "is no signature of a statement" in check_signatures(copy, keys).problems[0]
    write_json(written, {**content, "signatures": []})
    assert "0 signatures" in check_signatures(copy, keys).problems[0]
    written.write_bytes(b"{")
    assert "is no DSSE envelope" in check_signatures(copy).problems[0]
    written.unlink()
    written.symlink_to(key)
    assert written.name in check_signatures(copy).problems[0]


def test_a_signature_of_another_run_is_not_one_of_this(copy: RunFolder, key: Path, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    shutil.copytree(copy.path, other.path)
    manifest = read_json(other.manifest_path)
    write_json(other.manifest_path, {**manifest, "operator": "somebody else"})
    write_evidence(other)
    foreign = sign(other.path, key, no_question)
    (copy.path / "attestations").mkdir()
    shutil.copy(foreign, copy.path / "attestations")
    (problem,) = check_signatures(copy, [public(key)]).problems
    assert foreign.name in problem and "is for another" in problem


def test_a_run_that_was_changed_and_listed_again_is_not_the_signed_one(copy: RunFolder, key: Path) -> None:
    sign(copy.path, key, no_question)
    report = read_json(copy.report_path)
    write_json(copy.report_path, {**report, "findings": report["findings"][1:]})
    with pytest.raises(RunFolderError, match="is not signed"):
        sign(copy.path, key, no_question)
    write_evidence(copy)
    (problem,) = check_signatures(copy, [public(key)]).problems
    assert "is for another evidence.json" in problem and "can sign it again" in problem
    # Signed again by the same key, the first signature is history.
    second = sign(copy.path, key, no_question)
    check = check_signatures(copy, [public(key)])
    assert second.name.endswith(".2.dsse.json") and not check.problems
    assert any("signed the run again since" in one for one in check.not_done)


def test_a_statement_of_an_unknown_kind_is_named(copy: RunFolder, key: Path) -> None:
    signer = read_private_key(key, no_question)
    place = Place.of_run(copy)
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "x", "digest": {"sha256": "0"}}]}
    unknown = json.dumps({**statement, "predicateType": "https://slsa.dev/provenance/v1", "predicate": {}})
    place.write("a.dsse.json", sign_payload(unknown.encode(), signer))
    place.write("b.dsse.json", sign_payload(b"no statement", signer))
    place.write("c.dsse.json", sign_payload(b"[" * 100_000, signer))
    half = json.dumps({**statement, "predicateType": RUN_PREDICATE, "predicate": {"run": "x"}})
    place.write("d.dsse.json", sign_payload(half.encode(), signer))
    problems = check_signatures(copy, [public(key)]).problems
    assert "kind that this version does not know ('https://slsa.dev/provenance/v1')" in problems[0]
    assert "covers no in-toto statement" in problems[1] and "covers no in-toto statement" in problems[2]
    assert "covers a damaged statement" in problems[3] and len(problems) == 4


def test_envelopes_of_other_tools_are_read(key: Path, tmp_path: Path) -> None:
    envelope = json.loads(sign_payload(b"{}", read_private_key(key, no_question)))
    mine = [read_public_key(public(key))]
    del envelope["signatures"][0]["keyid"]
    text = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = text.replace("+", "-").replace("/", "_")
    read = read_envelope(json.dumps(envelope).encode())
    assert read.key_ids == ("",) and find_signers(read, mine) == mine


def test_a_seal_is_signed_beside_itself_and_its_signature_goes_into_the_run(
    copy: RunFolder, key: Path, tmp_path: Path
) -> None:
    seal = tmp_path / "my-seal.json"
    seal.write_text("{}")
    written = sign(seal, key, no_question)
    assert written == tmp_path / "my-seal.json.dsse.json"
    assert read_statement(read_envelope(written.read_bytes()).payload).predicate_type == FILE_PREDICATE
    assert "my-seal.json is signed by key" in check_file_signatures(seal, [public(key)]).done
    with pytest.raises(InputError, match="exists already"):
        sign(seal, key, no_question)
    shutil.copy(seal, copy.path / "seal.json")
    write_evidence(copy)
    assert [one.name for one in copy_attestations(seal, copy, "seal.json")] == ["seal.json.dsse.json"]
    assert copy_attestations(seal, copy, "seal.json") == []
    only_seal = check_signatures(copy, [public(key)])
    assert "seal.json is signed" in only_seal.done and "no given key signed the result" in only_seal.problems[0]
    sign(copy.path, key, no_question)
    check = check_signatures(copy, [public(key)])
    assert not check.problems and "seal.json is signed" in check.done and "the result is signed" in check.done
    (copy.path / "seal.json").write_text('{"other": 1}')
    assert any("is for other content" in one for one in check_signatures(copy, [public(key)]).problems)
    seal.write_text('{"other": 1}')
    assert "is for other content" in check_file_signatures(seal, [public(key)]).problems[0]


def test_nothing_is_written_outside_of_the_run_or_into_its_evidence(copy: RunFolder, key: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (copy.path / "attestations").symlink_to(outside, target_is_directory=True)
    with pytest.raises(RunFolderError, match="is not a folder but a link"):
        sign(copy.path, key, no_question)
    with pytest.raises(RunFolderError, match="is not a folder but a link"):
        check_signatures(copy)
    assert not list(outside.iterdir())
    (copy.path / "attestations").unlink()
    with pytest.raises(InputError, match="sign the run folder"):
        sign(copy.path / "evidence.json", key, no_question)
    with pytest.raises(InputError, match="give the run folder"):
        sign(copy.path / "manifest.json", key, no_question)
    with pytest.raises(InputError, match="not a run folder"):
        sign(outside, key, no_question)
    with pytest.raises(InputError, match="there is no file"):
        sign(tmp_path / "nothing", key, no_question)


def test_from_the_command_line(copy: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, told = tmp_path / "signer.pem", tmp_path / "signer.pub.pem"
    asked = CliRunner().invoke(app, ["key", "make", str(file)])
    assert isinstance(asked.exception, InputError) and PASSPHRASE_VARIABLE in str(asked.exception)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "correct horse")
    made = CliRunner().invoke(app, ["key", "make", str(file)])
    assert made.exit_code == 0 and b"ENCRYPTED" in file.read_bytes()
    shown = CliRunner().invoke(app, ["key", "info", str(told)])
    assert shown.stdout.split()[1] in made.stdout
    assert CliRunner().invoke(app, ["sign", str(copy.path), "--key", str(file)]).exit_code == 0
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    typed = CliRunner().invoke(app, ["sign", str(copy.path), "--key", str(file)], input="wrong\n")
    assert isinstance(typed.exception, InputError) and "with this passphrase" in str(typed.exception)
    good = CliRunner().invoke(app, ["verify", str(copy.path), "--key", str(told)])
    assert good.exit_code == 0 and "the result is signed by key" in unwrap(good.stdout)
    other = make_key(tmp_path / "other.pem", "").path
    bad = CliRunner().invoke(app, ["verify", str(copy.path), "--key", str(other)])
    assert isinstance(bad.exception, VerificationError) and "no signature here is by key" in " ".join(
        bad.stdout.split()
    )


def test_the_statement_is_wrapped_as_in_toto_wants_it(tmp_path: Path, key: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    envelope = json.loads(sign_payload(state_file(tmp_path / "a.txt"), read_private_key(key, no_question)))
    assert envelope["payloadType"] == PAYLOAD_TYPE == "application/vnd.in-toto+json"
    with pytest.raises(InputError, match="cannot be read"):
        state_file(tmp_path / "nothing")


def test_the_reference_documents_every_field_of_the_statements() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "attestations.md").read_text("utf-8")
    schema = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert list(schema["properties"]) == list(RunPredicate.model_fields)
    assert schema["required"] == [name for name, one in RunPredicate.model_fields.items() if one.is_required()]
    assert FilePredicate.model_fields.keys() <= schema["properties"].keys()
    assert RUN_PREDICATE in page and FILE_PREDICATE in page and CHAIN in page
