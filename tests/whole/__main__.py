"""Write the vectors of whole artifacts again: ``python -m tests.whole``."""

from __future__ import annotations

import shutil
import sys

from .writing import FOLDER, rendered

if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, content in rendered().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sys.stdout.write(f"{FOLDER} is written\n")
