"""Pictures generated again from what a run recorded: texts, embeddings, learned noise, seeds, guidance scale, steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import Generated, generate
from imgaudit.diffusion.learned_noise import LearnedNoise
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.reading import read_bounded
from imgaudit.runs.folder import MAX_TENSOR_BYTES, RunFolder
from imgaudit.runs.replay.exhibits import Exhibit
from imgaudit.schema.records import Rung


@dataclass(frozen=True)
class Sampler:
    """A model, and how pictures of a run are generated with it."""

    run: RunFolder
    """The run."""
    denoiser: Denoiser
    """The model."""
    num_inference_steps: int
    """Sampling steps, those of the run's protocol."""
    executor: Executor
    """Runs batches that fit into memory."""

    def regenerate(self, exhibits: Sequence[Exhibit]) -> Iterator[tuple[Exhibit, Generated | str]]:
        """Generate pictures again, in batches of the same rung and guidance scale, which is how an audit makes them.

        Yields every picture with what was generated, or with why nothing could be, which names the file; in the order
        of the batches.
        """
        groups: dict[tuple[Rung, float], list[Exhibit]] = {}
        for exhibit in exhibits:
            groups.setdefault((exhibit.rung, exhibit.replica.guidance_scale), []).append(exhibit)
        for (_, scale), group in groups.items():
            # Conditions are read a batch at a time: a run has thousands of pictures.
            for start in range(0, len(group), self.executor.batch_size):
                yield from self._regenerate(group[start : start + self.executor.batch_size], scale)

    def _regenerate(self, exhibits: Sequence[Exhibit], scale: float) -> Iterator[tuple[Exhibit, Generated | str]]:
        asked: list[Exhibit] = []
        conditions: list[PromptEmbeds] = []
        noises: list[LearnedNoise | None] = []
        for exhibit in exhibits:
            try:
                condition, noise = self._find_condition(exhibit)
            except RunFolderError as error:
                yield exhibit, str(error)
                continue
            asked.append(exhibit)
            conditions.append(condition)
            noises.append(noise)
        if not asked:
            return
        frames = generate(
            self.denoiser, PromptEmbeds.concatenate(conditions), [[one.replica.seed] for one in asked],
            guidance_scale=scale, num_inference_steps=self.num_inference_steps, executor=self.executor,
            noise=noises if any(noises) else None,
        )  # fmt: skip
        for exhibit, [frame] in zip(asked, frames, strict=True):
            yield exhibit, frame

    def _find_condition(self, exhibit: Exhibit) -> tuple[PromptEmbeds, LearnedNoise | None]:
        """Return what a picture was asked with. Raises RunFolderError that names the file."""
        folder = self.run.image_folder(exhibit.measurement.id)
        if exhibit.rung is Rung.EMBEDDING:
            path = folder / "embeds.safetensors"
            return self._with_streams(self.denoiser.start_condition(), self._read_tensors(exhibit, path.name)), None
        if exhibit.rung is Rung.EMBEDDING_NOISE:
            return self._find_learned(exhibit)
        texts, number = exhibit.measured.texts, exhibit.replica.text
        if not 0 <= number < len(texts):
            raise RunFolderError(f"{exhibit.replica.path!r} was asked for with text {number} of {len(texts)}")
        # All texts of the rung at once, as the audit encodes them.
        return self.denoiser.condition(texts).select(slice(number, number + 1)), None

    def _find_learned(self, exhibit: Exhibit) -> tuple[PromptEmbeds, LearnedNoise]:
        tensors, denoiser = self._read_tensors(exhibit, "noise.safetensors"), self.denoiser
        name = f"images/{exhibit.measurement.id}/noise.safetensors"
        try:
            noise = LearnedNoise(tensors.pop("mu"), tensors.pop("logvar"))
        except KeyError as error:
            raise RunFolderError(f"{name!r} lacks {error.args[0]!r}") from error
        if {noise.mu.shape, noise.logvar.shape} != {denoiser.latent_shape}:
            raise RunFolderError(f"{name!r} is learned noise of another size than the model's {denoiser.latent_shape}")
        start = denoiser.start_condition()
        if exhibit.measurement.invmm is not None and exhibit.measurement.invmm.condition == "mixture":
            if not denoiser.words:
                raise RunFolderError(f"{name!r} is for a mixture of words, but the model has no words to mix")
            # Any mixture: the streams are replaced below, and what else belongs to them is the same for all.
            size = (1, denoiser.word_positions, len(denoiser.words))
            start = denoiser.condition_words(torch.full(size, 1 / size[2]))
        streams = {key.removeprefix("condition."): value for key, value in tensors.items()}
        return self._with_streams(start, streams, name), noise

    def _with_streams(
        self, start: PromptEmbeds, streams: dict[str, torch.Tensor], name: str = "embeds.safetensors"
    ) -> PromptEmbeds:
        """Put streams of one image into a condition. Raises RunFolderError for streams that the model does not have."""
        expected = {key: tuple(stream.shape[1:]) for key, stream in start.streams.items()}
        given = {key: tuple(stream.shape) for key, stream in streams.items()}
        if given != expected:
            raise RunFolderError(f"{name!r} holds tensors of {given}, where the model has {expected}")
        return start.with_streams({key: stream[None].float() for key, stream in streams.items()})

    def _read_tensors(self, exhibit: Exhibit, name: str) -> dict[str, torch.Tensor]:
        path = self.run.image_folder(exhibit.measurement.id) / name
        try:
            return dict(load(read_bounded(path, MAX_TENSOR_BYTES)))
        except (InputError, SafetensorError) as error:
            raise RunFolderError(f"{str(path)!r} cannot be read: {error}") from error
