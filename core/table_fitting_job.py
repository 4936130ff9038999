"""A fitting run from its pictures to its report."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intaglio.errors import InputError, RecipeError
from intaglio.fitting.listener import Listener
from intaglio.progress import Progress

if TYPE_CHECKING:
    from intaglio.fitting.image_files import ImageSet, NamedImage
    from intaglio.fitting.tables.loop import FitOutcome
    from intaglio.fitting.tables.run_folder import RunFolder
    from intaglio.fitting.tables.settings import FitSettings
    from intaglio.fitting.tables.teacher import Teacher
    from intaglio.fitting.tables.validation import ValidationSet

_BAD_SHOWN = 5
#: PSNR in dB below which a teacher hardly does what it should.
_MINIMUM_TEACHER = 18.0


@dataclasses.dataclass(frozen=True, eq=False)
class FitReport:
    """What a fitting run came to.

    Attributes:
        folder: The run's folder.
        model: The ONNX model in it; None after an interrupt.
        facts: What happened, JSON-friendly.
        warnings: What the user should know.
    """

    folder: Path
    model: Path | None
    facts: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def interrupted(self) -> bool:
        """Whether the run can be resumed."""
        return self.model is None

    def to_dict(self) -> dict[str, Any]:
        """JSON-friendly data."""
        model = None if self.model is None else str(self.model)
        return {
            "out": str(self.folder),
            "model": model,
            "warnings": list(self.warnings),
            **self.facts,
        }


@dataclasses.dataclass
class FitJob:
    """All that a run is made from."""

    settings: FitSettings
    images: ImageSet
    learned: tuple[NamedImage, ...]
    held_out: tuple[NamedImage, ...]
    teacher_path: Path | None
    start_path: Path | None
    warnings: list[str]

    @classmethod
    def open(
        cls,
        settings: FitSettings,
        folders: list[Path],
        validation: str | Path | None,
        teacher: str | Path | None,
        start: str | Path | None = None,
    ) -> FitJob:
        """Reads the pictures.

        Args:
            settings: What the run is told.
            folders: Pictures to learn from.
            validation: Folder of others to validate on; None holds some of them out.
            teacher: ONNX model to imitate, or None.
            start: Network to begin with, or None for random weights.

        Raises:
            InputError: There are none, or there is no such teacher or network.
        """
        from intaglio.fitting.image_files import load_images, split_images

        images = load_images(*folders)
        warnings = _bad_files(images)
        if validation is None:
            learned, held_out = split_images(images.images, settings.recipe.held_out)
            if not held_out:
                warnings.append(
                    f"pictures are too few to hold some out ({len(images.images)}, and it takes "
                    "5): there is no validation; give --validation"
                )
        else:
            others = load_images(Path(validation))
            warnings += _bad_files(others)
            learned, held_out = images.images, others.images
        teacher_path, start_path = _file(teacher, "teacher"), _file(start, "network")
        return cls(settings, images, learned, held_out, teacher_path, start_path, warnings)

    def keep_threads(self, place: RunFolder) -> None:
        """Takes as many threads as the run in a folder began with, which decide its bits.

        Raises:
            InputError: The folder's run is damaged.
        """
        threads = (place.told() or {}).get("threads")
        if isinstance(threads, int) and threads > 0:
            self.settings = dataclasses.replace(self.settings, threads=threads)

    def run(
        self,
        place: RunFolder,
        minutes: float | None,
        resume: bool,
        listen: Progress,
        listener: Listener | None,
    ) -> FitReport:
        """Learns, and writes what came of it.

        Args:
            place: The run's folder.
            minutes: Time to find the number of steps for, where the settings have none.
            resume: Go on with the run in the folder.
            listen: Listener for stages.
            listener: Told after every step.

        Raises:
            RecipeError: There is another run in the folder, or one that ``resume`` asks for.
            InputError: The pictures are too small, or the teacher does not run.
        """
        import torch

        from intaglio.fitting.image_pairs import CropSampler
        from intaglio.fitting.tables.kernel import keep_large_buffers
        from intaglio.fitting.tables.learners import make_learner
        from intaglio.fitting.tables.loop import Fitting
        from intaglio.fitting.tables.validation import ValidationSet

        try:
            recipe = self.settings.recipe
            told = self._told(minutes)
            found = self._agreed(place, told, resume)
            if found is not None and (facts := place.facts()) is not None:
                if not (place.path / "model.onnx").is_file():
                    raise InputError(
                        f"the run in {place.path} is finished, and its model.onnx is gone",
                        remedy="remove the folder, or give another --out",
                    )
                return FitReport(place.path, place.path / "model.onnx", facts, ())
            torch.set_num_threads(self.settings.threads)
            keep_large_buffers()
            sampler = CropSampler(
                self.learned,
                self.settings.task,
                recipe.crop,
                recipe.margin,
                self.settings.seed,
            )
            if sampler.too_small:
                self.warnings.append(
                    f"{len(sampler.too_small)} of {len(self.learned)} pictures are smaller than a "
                    f"crop and teach nothing: {', '.join(sampler.too_small[:_BAD_SHOWN])}"
                )
            validation = ValidationSet(self.held_out, self.settings.task)
            teacher = self._teacher(validation)
            module = make_learner(self.settings.structure, self.settings.task, self.settings.seed)
            if self.start_path is not None:
                from intaglio.fitting.tables.starting import start_from

                start_from(module, self.start_path)
            if found is not None:
                steps = int(found["steps"])
            else:
                steps = self.settings.steps or self._measured(sampler, teacher, minutes, listen)
        except BaseException:
            # What cannot begin leaves no folder behind.
            if place.told() is None:
                place.discard()
            raise
        settings = dataclasses.replace(self.settings, steps=steps)
        if found is None:
            place.begin({**told, "steps": steps})
        forward = listener or (lambda done, total, loss, psnr: listen("fit", done, total))
        run = Fitting(module, settings, sampler, validation, teacher, place, forward)
        outcome = run.run()
        if outcome.interrupted:
            return FitReport(
                place.path, None, self._progress_facts(settings, outcome), tuple(self.warnings)
            )
        return self._finish(place, settings, module, outcome, sampler, validation, teacher, listen)

    def _told(self, minutes: float | None) -> dict[str, Any]:
        """What decides a run, for ``settings.json``."""
        data = self.settings.to_dict()
        pictures = {
            "learned": _fingerprint(self.learned),
            "held_out": _fingerprint(self.held_out),
        }
        files = {"teacher": _digest(self.teacher_path), "start": _digest(self.start_path)}
        return {**data, "minutes": minutes, "pictures": pictures, **files}

    @staticmethod
    def _agreed(place: RunFolder, told: dict[str, Any], resume: bool) -> dict[str, Any] | None:
        """What the run in the folder was told, where this is to go on with it; else None."""
        found = place.told()
        if found is None:
            return None
        if not resume:
            state = "interrupted" if place.facts() is None else "finished"
            remedy = "go on with --resume, or give another --out"
            if state == "finished":
                remedy = f"give another --out, or remove {place.path}"
            raise RecipeError(f"{place.path} holds a run that is {state}", remedy=remedy)
        # Minutes were turned into steps when it began.
        stated = {**told, "steps": found.get("steps") if told["minutes"] else told["steps"]}
        if stated != found:
            changed = [key for key in stated if found.get(key) != stated[key]]
            raise RecipeError(
                f"the run in {place.path} was told otherwise: {', '.join(changed)}",
                remedy="give the same options and pictures, or another --out",
            )
        return found

    def _teacher(self, validation: ValidationSet) -> Teacher | None:
        if self.teacher_path is None:
            return None
        from intaglio.fitting.tables.teacher import Teacher

        case = self._examples(validation).cases[0]
        teacher = Teacher(
            self.teacher_path,
            self.settings.task,
            case.clean[0],
            case.degraded[0],
            self.settings.threads,
        )
        if teacher.psnr < _MINIMUM_TEACHER:
            self.warnings.append(
                f"the teacher's picture has only {teacher.psnr:.1f} dB: is it for this task?"
            )
        return teacher

    def _examples(self, validation: ValidationSet) -> ValidationSet:
        """Pictures to try things on: those of validation, or where there are none, others."""
        from intaglio.fitting.tables.validation import ValidationSet

        return validation if len(validation) else ValidationSet(self.learned, self.settings.task)

    def _measured(
        self, sampler: Any, teacher: Teacher | None, minutes: float | None, listen: Progress
    ) -> int:
        from intaglio.fitting.tables.measuring import step_costs
        from intaglio.fitting.tables.schedule import steps_for

        assert minutes is not None
        costs = step_costs(self.settings, sampler, teacher, lambda i, n: listen("measure", i, n))
        return steps_for(self.settings.recipe, 60 * minutes, costs)

    def _progress_facts(self, settings: FitSettings, outcome: FitOutcome) -> dict[str, Any]:
        return {
            "settings": settings.to_dict(),
            "steps": settings.steps,
            "steps_done": outcome.steps,
            "seconds": round(outcome.seconds, 3),
            "journal": outcome.journal,
        }

    def _finish(
        self,
        place: RunFolder,
        settings: FitSettings,
        module: Any,
        outcome: FitOutcome,
        sampler: Any,
        validation: ValidationSet,
        teacher: Teacher | None,
        listen: Progress,
    ) -> FitReport:
        """Exports the network, proves it, and writes the report."""
        from intaglio.fitting.tables.exporting import export, task_text
        from intaglio.fitting.tables.figures import figures
        from intaglio.fitting.tables.learners import network_of
        from intaglio.fitting.tables.loop import restore
        from intaglio.fitting.tables.run_folder import FACTS, MODEL, REPORT
        from intaglio.fitting.tables.samples import samples
        from intaglio.report.fitting import fitting_report

        network = network_of(module)
        images = [case.degraded for case in self._examples(validation).cases]

        def mend(planes: Any) -> Any:
            return restore(module, planes)

        exported = export(
            network,
            f"{task_text(settings.task).replace(' ', '_')}_{settings.preset}".replace("-", "_"),
            settings.task,
            images,
            mend,
            settings.threads,
            lambda done, total: listen("check", done, total),
        )
        facts = {
            **self._progress_facts(settings, outcome),
            "task": task_text(settings.task),
            "pictures": {
                "learned": len(self.learned) - len(sampler.too_small),
                "held_out": len(validation),
                "bad": [list(pair) for pair in self.images.bad],
            },
            "psnr": _last_psnr(outcome),
            "baseline": round(validation.baseline(), 4) if len(validation) else None,
            "teacher": None
            if teacher is None
            else {"name": teacher.path.name, "psnr": round(float(teacher.psnr), 2)},
            "compared_pixels": exported.pixels,
            "network": figures(network),
            "digest": hashlib.sha256(exported.data).hexdigest(),
            "warnings": self.warnings,
        }
        page = fitting_report(facts, samples(validation, mend))
        place.write(MODEL, exported.data)
        place.write(REPORT, page.encode())
        place.write_json(FACTS, facts)
        place.finish()
        return FitReport(place.path, place.path / MODEL, facts, tuple(self.warnings))


def _fingerprint(images: Sequence[NamedImage]) -> str:
    """SHA-256 of pictures and their names: whether a run goes on with those it began with."""
    state = hashlib.sha256()
    for image in images:
        state.update(f"{image.name}\0{image.pixels.shape}".encode())
        state.update(image.pixels.tobytes())
    return state.hexdigest()


def _bad_files(images: ImageSet) -> list[str]:
    if not images.bad:
        return []
    shown = "; ".join(f"{name} {reason}" for name, reason in images.bad[:_BAD_SHOWN])
    more = len(images.bad) - _BAD_SHOWN
    count = "a picture is" if len(images.bad) == 1 else f"{len(images.bad)} pictures are"
    return [f"{count} left out: {shown}" + (f"; and {more} more" if more > 0 else "")]


def _last_psnr(outcome: FitOutcome) -> float | None:
    found = [line["psnr"] for line in outcome.journal if "psnr" in line]
    return found[-1] if found else None


def _file(path: str | Path | None, what: str) -> Path | None:
    """A file that is to be read, or None where none is asked for."""
    if path is not None and not Path(path).is_file():
        raise InputError(f"there is no {what} {path}", remedy="give the path of an ONNX file")
    return None if path is None else Path(path)


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
