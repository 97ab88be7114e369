"""The protocol that follows from options, and its hash."""

from pathlib import Path

import pytest

from imgaudit.exceptions import ConfigError
from imgaudit.schema.config import AuditConfig, resolve_config
from imgaudit.schema.protocol import (
    Effort,
    Framing,
    GenerationConfig,
    InversionConfig,
    Protocol,
    Search,
    SpanConfig,
    protocol_for,
)

HASH_WITHOUT_SPAN = "8fd4b3bed6bbcfe4af30fdbbfbb0eeb64a0c178132b876e3c6a80a125b7443a1"
"""Hash of Protocol() before there was a search in the span of texts."""

HASHES = {
    Effort.QUICK: "917d3de67e99cf0ec94a42e529213a60da704bc8cc326269bf90a5acfc44a96e",
    Effort.STANDARD: "96d287b56241c4de3aaeaa0d7d46dbcb93003f13c7f868dc90c0a667c248e0d1",
    Effort.THOROUGH: "6d0e0c486d1b86f572adcd7604999d91256b129dae6656e0a596b95b751e8e1a",
}
"""What the protocols' hashes were before streams could be chosen; null banks are keyed by them."""


def test_the_protocol_hash_follows_what_decides_scores_and_nothing_else() -> None:
    base = AuditConfig()
    same = AuditConfig(seed=5, batch_size=3, chunk_size=2, level=0.1, operator="x", device="cpu")
    assert base.protocol.hash == same.protocol.hash
    others = [
        {"steps": 3}, {"draws": 2}, {"seeds": 5}, {"num_inference_steps": 4}, {"framing": "pad"}, {"effort": "quick"},
    ]  # fmt: skip
    hashes = {AuditConfig.model_validate(other).protocol.hash for other in others}
    assert len(hashes) == len(others) and base.protocol.hash not in hashes
    assert AuditConfig().protocol.differences(AuditConfig(steps=3).protocol) == [
        "inversion.steps: 50 here, 3 there",
        "error.after_steps: 8 here, 3 there",
    ]


def test_several_scales_keep_the_seeds_that_choose_apart_from_those_that_rate() -> None:
    thorough = protocol_for(Effort.THOROUGH).generation
    assert thorough.seeds - thorough.selection_seeds == 128
    assert AuditConfig(guidance_scales=(1.0, 3.0), seeds=10).protocol.generation.selection_seeds == 2
    with pytest.raises(ValueError, match="selection_seeds"):
        GenerationConfig(guidance_scales=(1.0, 3.0))
    with pytest.raises(ValueError, match="guidance scales"):
        GenerationConfig(guidance_scales=())


def test_the_error_is_measured_within_the_inversion() -> None:
    with pytest.raises(ValueError, match="after 8 inversion steps, but there are only 4"):
        Protocol(inversion=InversionConfig(steps=4))
    assert AuditConfig(steps=4).protocol.error.after_steps == 4


def test_learning_rate_and_steps_before_the_score_are_part_of_the_protocol() -> None:
    config = AuditConfig(learning_rate=1.0, score_after=16)
    assert (config.protocol.inversion.learning_rate, config.protocol.error.after_steps) == (1.0, 16)
    assert config.protocol.hash != AuditConfig().protocol.hash
    with pytest.raises(ValueError, match="after 16 inversion steps, but there are only 8"):
        AuditConfig(steps=8, score_after=16)


def test_models_that_are_not_searched_in_the_span_of_texts_keep_the_protocol_they_had() -> None:
    searched, inverted = AuditConfig().protocol, AuditConfig.model_validate({"search": "inversion"}).protocol
    for predicted in ("epsilon", "sample"):
        assert searched.for_model(predicted) == inverted
        assert searched.for_model(predicted).hash == inverted.hash
    for predicted in ("flow", "v_prediction"):
        assert searched.for_model(predicted) == searched
        assert inverted.for_model(predicted) == inverted


def test_a_search_that_only_one_protocol_has_is_named_by_its_option() -> None:
    searched, inverted = AuditConfig().protocol, AuditConfig.model_validate({"search": "inversion"}).protocol
    assert searched.differences(inverted) == ["search: texts here, inversion there"]
    assert inverted.differences(searched) == ["search: inversion here, texts there"]
    longer = searched.model_copy(update={"span": SpanConfig(steps=64)})
    assert searched.differences(longer) == ["span.steps: 128 here, 64 there"]


def test_protocols_of_before_the_search_are_read_and_keep_their_hash() -> None:
    assert Protocol().hash == HASH_WITHOUT_SPAN and "span" not in Protocol().canonical()
    assert Protocol.model_validate_json(Protocol().canonical()) == Protocol()
    assert Protocol(span=SpanConfig()).hash != HASH_WITHOUT_SPAN
    assert Protocol.model_validate_json(Protocol(span=SpanConfig()).canonical()).span == SpanConfig()


def test_the_option_takes_the_search_out_of_every_effort() -> None:
    for effort in Effort:
        assert AuditConfig(effort=effort).protocol.span == SpanConfig()
        assert AuditConfig(effort=effort, search=Search.TEXTS).protocol == AuditConfig(effort=effort).protocol
        inverted = AuditConfig(effort=effort, search=Search.INVERSION).protocol
        assert inverted == AuditConfig(effort=effort).protocol.model_copy(update={"span": None})


def test_what_one_protocol_lacks_has_a_word_of_its_own() -> None:
    chosen = Protocol(inversion=InversionConfig(streams=("clip",)))
    assert Protocol().differences(chosen) == ["inversion.streams: all here, ['clip'] there"]
    searched = AuditConfig.model_validate({"measures": ["invmm"], "search": "inversion"}).protocol
    assert "invmm.steps: none here, " in "\n".join(Protocol().differences(searched))


def test_the_default_protocols_are_what_they_were_before_streams_could_be_chosen() -> None:
    assert Protocol().hash == "8fd4b3bed6bbcfe4af30fdbbfbb0eeb64a0c178132b876e3c6a80a125b7443a1"
    # Only models that are searched in the span of texts have another one since that search is there.
    # The framing has another default since pictures can be padded where a crop would cut too much.
    cropped = {
        effort: protocol_for(effort).for_model("epsilon").model_copy(update={"framing": Framing.CROP})
        for effort in Effort
    }
    assert {effort: protocol.hash for effort, protocol in cropped.items()} == HASHES
    assert "streams" not in InversionConfig().model_dump() and "streams" not in Protocol().canonical()


def test_chosen_streams_are_part_of_the_protocol_whatever_their_order() -> None:
    config, sources = resolve_config({"streams": "pooled, clip"}, {}, Path("/"))
    assert config.protocol.inversion.streams == ("clip", "pooled") and sources["streams"] == "command line"
    assert config.protocol.hash == AuditConfig(streams=("clip", "pooled", "clip")).protocol.hash
    assert config.protocol.hash != AuditConfig().protocol.hash
    assert AuditConfig().protocol.differences(config.protocol) == [
        "inversion.streams: all here, ['clip', 'pooled'] there"
    ]
    assert config.protocol.differences(AuditConfig().protocol) == [
        "inversion.streams: ['clip', 'pooled'] here, all there"
    ]
    assert Protocol.model_validate_json(config.protocol.canonical()) == config.protocol


def test_streams_are_a_key_of_every_layer_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "imgaudit.toml").write_text('streams = ["t5"]\n', encoding="utf-8")
    assert resolve_config({}, {}, tmp_path)[0].streams == ("t5",)
    assert resolve_config({}, {"IMGAUDIT_STREAMS": "clip,t5"}, tmp_path)[0].streams == ("clip", "t5")
    for nonsense in ("", "clip,", "Clip", "a b"):
        with pytest.raises(ConfigError, match="names of streams"):
            resolve_config({"streams": nonsense}, {}, tmp_path)
