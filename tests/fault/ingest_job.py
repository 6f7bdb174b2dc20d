"""An ingest that decodes slowly, to be killed: `python -m tests.fault.ingest_job FOLDER ROOT SECONDS_AN_IMAGE`."""

import sys
from pathlib import Path

from tests.integration.growing_archive import GrowingArchive

if __name__ == "__main__":
    print(GrowingArchive(Path(sys.argv[1])).ingest(sys.argv[2], float(sys.argv[3]))[0])
