"""What a data set holds: counts, formats, broken files, duplicates, labels in doubt."""

from covtool.auditing.audited import Audited
from covtool.auditing.auditing import audit, look_through
from covtool.auditing.clean_list import CleanList, write_clean_list
from covtool.auditing.records import Audit
from covtool.auditing.request import AuditRequest
from covtool.auditing.table_file import write_image_table
from covtool.data.datasets.finding import Finding

__all__ = [
    "Audit",
    "AuditRequest",
    "Audited",
    "CleanList",
    "Finding",
    "audit",
    "look_through",
    "write_clean_list",
    "write_image_table",
]
