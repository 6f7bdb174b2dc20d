"""What lies on a radiograph beside the patient: burned-in text, markers, hardware, and how files wear out."""
