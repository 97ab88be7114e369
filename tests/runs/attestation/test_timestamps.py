"""Timestamps of a real authority: attached only if they answer, verified with its root; every mismatch is named."""

import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.exceptions import InputError, VerificationError
from imgaudit.io.writing import read_json, write_json
from imgaudit.report.verification import verify
from imgaudit.runs.attestation.authority import read_authority
from imgaudit.runs.attestation.der_order import sort_certificates
from imgaudit.runs.attestation.signatures import sign
from imgaudit.runs.attestation.stamp import read_request, read_stamp, verify_stamp
from imgaudit.runs.attestation.timestamps import attach, check_file_timestamps, check_timestamps, request
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.seal import keep_seal
from imgaudit.schema.seal import Seal
from tests.support.timestamp_authority import TimestampAuthority
from tests.support.wrapping import unwrap


def no_question() -> str:
    raise AssertionError("an unprotected key needs no passphrase")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TimestampAuthority:
    return TimestampAuthority(tmp_path_factory.mktemp("authority") / "a")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> TimestampAuthority:
    return TimestampAuthority(tmp_path_factory.mktemp("authority") / "b", "Other", accuracy="")


def test_a_stamped_run_verifies_with_the_root_alone(copy: RunFolder, authority: TimestampAuthority) -> None:
    wanted = request(copy.path)
    assert wanted == copy.path / "attestations" / "evidence.json.tsq"
    asked = read_request(wanted.read_bytes())
    assert asked.cert_req and asked.nonce and asked.message_imprint.hash_algorithm._name == "sha256"
    file, stamp = attach(copy.path, authority.answer(wanted))
    assert file.name == "evidence.json.tsr" and stamp.policy == "1.2.3.4.1" and stamp.accuracy == "1 s"
    check = check_timestamps(copy, [authority.root])
    assert not check.problems and not check.not_done
    assert (
        f"evidence.json existed at {stamp.time:%Y-%m-%d %H:%M:%S} UTC (accuracy 1 s), by CN=Test Stamps" in check.done
    )
    assert check in verify(copy.path, tsa_roots=[authority.root]).checks
    # Without the root it is listed, not believed.
    assert "timestamps: 1, because" in check_timestamps(copy).not_done[0] and verify(copy.path).matches
    # The same response twice is one; a second authority's answer to the same request is kept beside it.
    assert attach(copy.path, authority.answer(wanted))[0].name == "evidence.json.2.tsr"


def test_two_authorities_may_answer_one_request(
    copy: RunFolder, authority: TimestampAuthority, other: TimestampAuthority
) -> None:
    wanted = request(copy.path)
    first, second = (attach(copy.path, one.answer(wanted)) for one in (authority, other))
    assert (first[0].name, second[0].name) == ("evidence.json.tsr", "evidence.json.2.tsr")
    assert attach(copy.path, other.answer(wanted))[0].name == "evidence.json.3.tsr"
    both = check_timestamps(copy, [authority.root, other.root])
    assert not both.problems and "CN=Test Stamps" in both.done and "CN=Other Stamps" in both.done
    assert "accuracy" not in both.done.partition("CN=Test Stamps")[2].partition("evidence.json existed")[2][:40]


def test_each_mismatch_is_named(
    copy: RunFolder, authority: TimestampAuthority, other: TimestampAuthority, tmp_path: Path
) -> None:
    roots = [authority.root]
    assert "there is no timestamp" in check_timestamps(copy, roots).problems[0]
    wanted = request(copy.path)
    assert "no response is attached" in check_timestamps(copy).not_done[1]
    elsewhere = tmp_path / "letter.txt"
    elsewhere.write_text("a letter")
    foreign = authority.answer(request(elsewhere))
    with pytest.raises(InputError, match="it stamps other content"):
        attach(copy.path, foreign)
    evidence = (copy.path / "evidence.json").read_bytes()
    with pytest.raises(InputError, match="its nonce is another"):
        attach(copy.path, authority.answer(authority.request_of(evidence, "-sha256", "-cert")))
    with pytest.raises(InputError, match=r"another answer of the authority: rejection \('Message digest"):
        attach(copy.path, authority.answer(authority.request_of(evidence, "-sha384", "-cert")))
    with pytest.raises(InputError, match="is no timestamp"):
        attach(copy.path, elsewhere)
    with pytest.raises(InputError, match="is no timestamp"):
        attach(copy.path, wanted)
    with pytest.raises(InputError, match="requests this timestamp already"):
        request(copy.path)

    file, _ = attach(copy.path, authority.answer(wanted))
    wrong = check_timestamps(copy, [other.root]).problems
    assert "'evidence.json.tsr' is by 'CN=Test Stamps'" in wrong[0] and "'CN=Other Root'" in wrong[0]
    file.write_bytes(foreign.read_bytes())
    assert "stamps other content" in check_timestamps(copy, roots).problems[0]
    file.write_bytes(authority.answer(authority.request_of(evidence, "-sha256", "-cert")).read_bytes())
    assert "does not answer evidence.json.tsq" in check_timestamps(copy, roots).problems[0]
    file.write_bytes(authority.answer(authority.request_of(evidence, "-sha256", "-no_nonce")).read_bytes())
    wanted.unlink()
    assert "'evidence.json.tsr' is not valid" in check_timestamps(copy, roots).problems[0]
    file.write_bytes(b"0\x80")
    assert "is no timestamp" in check_timestamps(copy, roots).problems[0]
    file.unlink()
    file.symlink_to(foreign)
    assert "evidence.json.tsr" in check_timestamps(copy, roots).problems[0]


def test_a_timestamp_of_an_earlier_head_is_named(copy: RunFolder, authority: TimestampAuthority) -> None:
    attach(copy.path, authority.answer(request(copy.path)))
    report = read_json(copy.report_path)
    write_json(copy.report_path, {**report, "findings": report["findings"][1:]})
    write_evidence(copy)
    (problem,) = check_timestamps(copy, [authority.root]).problems
    assert "'evidence.json.tsr' stamps other content than evidence.json has" in problem
    with pytest.raises(InputError, match=r"for an earlier state of evidence\.json"):
        request(copy.path)


def test_a_certificate_that_had_expired_is_named(copy: RunFolder, tmp_path: Path) -> None:
    late = TimestampAuthority(tmp_path / "late", "Late", expired=True)
    attach(copy.path, late.answer(request(copy.path)))
    (problem,) = check_timestamps(copy, [late.root]).problems
    assert "when the certificate of 'CN=Late Stamps' was not valid" in problem


def test_roots_are_read_with_care(authority: TimestampAuthority, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no root certificate: 'CN=Test Intermediate' was issued by"):
        read_authority([authority.intermediate])
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(authority.intermediate.read_bytes() + authority.root.read_bytes())
    read = read_authority([bundle, authority.root])
    assert len(read.roots) == 1 and len(read.intermediates) == 1
    (tmp_path / "junk.pem").write_bytes(b"junk")
    with pytest.raises(InputError, match="holds no certificate"):
        read_authority([tmp_path / "junk.pem"])


def test_roots_of_one_check_do_not_reach_the_next(
    authority: TimestampAuthority, other: TimestampAuthority, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    stamp = read_stamp(authority.answer(request(tmp_path / "a")).read_bytes())
    verify_stamp(stamp, b"a", read_authority([authority.root]))
    with pytest.raises(InputError, match="does not lead to a given root"):
        verify_stamp(stamp, b"a", read_authority([other.root]))
    with pytest.raises(InputError, match="stamps other content"):
        verify_stamp(stamp, b"b", read_authority([authority.root]))


def test_chains_in_any_order_are_read(authority: TimestampAuthority, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    response = authority.answer(request(tmp_path / "a")).read_bytes()
    ordered = sort_certificates(response)
    assert len(ordered) == len(response) and sort_certificates(ordered) == ordered
    for cut in range(1, len(response), 97):
        with pytest.raises(InputError, match="is no timestamp"):
            read_stamp(response[:cut])


def test_a_signature_is_stamped_where_there_is_one(
    copy: RunFolder, key: Path, authority: TimestampAuthority, tmp_path: Path
) -> None:
    envelope = sign(copy.path, key, no_question)
    wanted = request(copy.path)
    assert wanted.name == f"{envelope.name}.tsq"
    attach(copy.path, authority.answer(wanted))
    check = check_timestamps(copy, [authority.root])
    assert not check.problems and f"{envelope.name} existed at" in check.done
    # Of another run: the signature is stamped, but says nothing of this one.
    changed = RunFolder(tmp_path / "changed")
    shutil.copytree(copy.path, changed.path)
    manifest = read_json(changed.manifest_path)
    write_json(changed.manifest_path, {**manifest, "operator": "somebody else"})
    write_evidence(changed)
    assert "the signature in it is for another" in check_timestamps(changed, [authority.root]).problems[0]
    # Of this run before its report was decided again: history.
    report = read_json(copy.report_path)
    write_json(copy.report_path, {**report, "findings": report["findings"][1:]})
    write_evidence(copy)
    stale = check_timestamps(copy, [authority.root])
    assert not stale.problems and not stale.done and "is for another evidence.json" in stale.not_done[0]


def test_a_seal_is_stamped_before_and_its_stamp_goes_into_the_run(
    copy: RunFolder, key: Path, authority: TimestampAuthority, tmp_path: Path
) -> None:
    seal = tmp_path / "my-seal.json"
    seal.write_text("{}")
    signature = sign(seal, key, no_question)
    for file in (seal, signature):
        attach(file, authority.answer(request(file)))
    assert "my-seal.json existed at" in check_file_timestamps(seal, [authority.root]).done
    # As an audit that is begun with the seal keeps it.
    keep_seal(copy, Seal(cast(Any, None), seal.read_bytes(), seal))
    write_evidence(copy)
    names = {path.name for path in (copy.path / "attestations").iterdir()}
    ends = ("", ".dsse.json")
    assert names == {"seal.json.dsse.json", *(f"seal.json{end}{kind}" for end in ends for kind in (".tsq", ".tsr"))}
    check = check_timestamps(copy, [authority.root])
    assert not check.problems and "seal.json existed at" in check.done
    said = " ".join(check.not_done)
    assert "was stamped after the audit began" in said and "the result has none; only the seal has" in said


def test_from_the_command_line(copy: RunFolder, authority: TimestampAuthority, other: TimestampAuthority) -> None:
    asked = CliRunner().invoke(app, ["timestamp", "request", str(copy.path)])
    assert asked.exit_code == 0 and "curl --header" in asked.stderr and "URL-OF-THE-AUTHORITY" in asked.stderr
    response = authority.answer(Path(asked.stdout.strip()))
    kept = CliRunner().invoke(app, ["timestamp", "attach", str(copy.path), str(response)])
    assert kept.exit_code == 0 and kept.stdout.strip().endswith("evidence.json.tsr") and "policy" in unwrap(kept.stderr)
    good = CliRunner().invoke(app, ["verify", str(copy.path), "--tsa-root", str(authority.root)])
    assert good.exit_code == 0 and "evidence.json existed at" in unwrap(good.stdout)
    bad = CliRunner().invoke(app, ["verify", str(copy.path), "--tsa-root", str(other.root)])
    assert isinstance(bad.exception, VerificationError) and "does not lead to a given root" in " ".join(
        bad.stdout.split()
    )
