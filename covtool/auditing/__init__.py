"""What a data set holds: counts, formats, broken files, duplicates, labels in doubt."""

from covtool.auditing.auditing import audit
from covtool.auditing.records import Audit, Finding
from covtool.auditing.request import AuditRequest

__all__ = ["Audit", "AuditRequest", "Finding", "audit"]
