"""Reports: functions of a finished run's records and images. They never see a model."""

from imgaudit.report.formats import ReportFormat, render, write_report

__all__ = ["ReportFormat", "render", "write_report"]
