"""An evaluation of mitigations as a page that opens from disk: the two scenarios as tables, and a plot each."""

from pathlib import Path

from imgaudit.io.writing import write_atomically
from imgaudit.mitigation.evaluation import ModelOutcome
from imgaudit.mitigation.evaluation_summary import EvaluationFigures, EvaluationTable
from imgaudit.report.pages import write_page
from imgaudit.report.svg import document, dots, frame, horizontal, legend, line, vertical


def write_mitigation(folder: Path, table: EvaluationTable, figures: EvaluationFigures) -> Path:
    """Write report/index.html and its plots into FOLDER; returns the page's path."""
    report = folder / "report"
    plots = []
    for number, model in enumerate(table.models[1:], start=1):
        name = f"plot-{number}.svg"
        write_atomically(report / name, before_and_after(table.models[0], model, figures.threshold))
        plots.append((model.name, name))
    assets = ("mitigation.css",)
    foot = [(f"Model, {model.name}", model.fingerprint) for model in table.models]
    return write_page(report, "mitigation.html.jinja", assets, foot, table=table, figures=figures, plots=plots)


def before_and_after(base: ModelOutcome, model: ModelOutcome, threshold: float) -> str:
    """Draw the highest similarity of every trigger prompt before (x) and after (y) the mitigation."""
    pairs = [
        (max(before.similarity), max(after.similarity))
        for before, after in zip(base.triggers, model.triggers, strict=True)
    ]
    low = min([0.0, *(value for pair in pairs for value in pair)])
    x, y = horizontal(low, 1.0), vertical(low, 1.0)
    above = [sum(pair[side] > threshold for pair in pairs) for side in (0, 1)]
    return document(
        f"Trigger prompts before and after {model.name}",
        f"Of {len(pairs)} trigger prompts {above[0]} have a picture above {threshold:.3f} before the mitigation, and "
        f"{above[1]} after. Dots on the dotted line are as close as before; dots below it are less close.",
        [
            frame(x, y, "highest similarity before", "after the mitigation"),
            line([(x(low), y(low)), (x(1.0), y(1.0))], "zero"),
            line([(x(low), y(threshold)), (x(1.0), y(threshold))], "level"),
            dots([(x(before), y(after)) for before, after in pairs], "target"),
            legend([("target", f"{len(pairs)} trigger prompts"), ("line-level", f"copies lie above {threshold:.3f}")]),
        ],
    )
