"""A folder of files that are known again: a trained model in which a bit has flipped is not what was trained."""

import hashlib
import json
from pathlib import Path

from calm_bench.records.atomic import replacing

FILE = "digests.json"


def seal(folder: Path) -> None:
    """Write down the digest of every file in `folder`, as the last of them."""
    digests = _digests(folder)
    with replacing(folder / FILE) as file:
        file.write(f"{json.dumps(digests, indent=2)}\n".encode())


def fault(folder: Path) -> str | None:
    """What is not as it was when the folder was sealed, in a few words; None where everything is."""
    try:
        sealed = json.loads((folder / FILE).read_text(encoding="utf-8"))
        digests = _digests(folder)
    except (OSError, ValueError, RecursionError) as error:
        return f"its {FILE} cannot be read ({error})"
    if not isinstance(sealed, dict):
        return f"its {FILE} is none"
    changed = {name for name in {*sealed, *digests} if sealed.get(name) != digests.get(name)}
    return f"{min(changed)} is not the file that was written" if changed else None


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / FILE:
            with path.open("rb") as file:
                digests[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
