"""Reports: functions of a finished run's records and images. They never see a model."""

from imgaudit.report.comparison import ComparisonFormat, render_comparison, write_comparison
from imgaudit.report.finishing import finish_run
from imgaudit.report.formats import ReportFormat, render, write_report

__all__ = [
    "ComparisonFormat",
    "ReportFormat",
    "finish_run",
    "render",
    "render_comparison",
    "write_comparison",
    "write_report",
]
