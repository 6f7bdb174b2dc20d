"""An archive's images, metadata and reports to EXAMS and REPORTS."""
