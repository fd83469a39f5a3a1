"""The report of a comparison as one HTML file."""

from remembev.experiments.report.report import write_report

__all__ = ["write_report"]
