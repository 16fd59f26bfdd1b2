"""Write the lists of Python files, data files and tests into the CMake files.

    python Tools/update_cmake_lists.py           write them
    python Tools/update_cmake_lists.py --check   exit status 1 where a list is not up to date

Slicer installs what is listed and nothing else, so a file that is not listed is missing from the installed extension.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
BEGIN, END = "# begin of the list {name} (Tools/update_cmake_lists.py)", "# end of the list {name}"


def files(folder: str, *patterns: str) -> list[str]:
    """Files below a folder of the checkout, relative to it, without what git ignores."""
    root = CHECKOUT / folder
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    try:
        listed = subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        # Not a git checkout (an unpacked archive): everything that is there.
        listed = [
            str(path.relative_to(root))
            for pattern in patterns
            for path in root.rglob(pattern)
            if path.is_file()
        ]
        listed = [name for name in listed if "__pycache__" not in name]
    return sorted({Path(name).as_posix() for name in listed if (root / name).is_file()})


def lists() -> dict[str, dict[str, list[str]]]:
    """CMake file to list name to entries."""
    found: dict[str, dict[str, list[str]]] = {}
    for module in ("TheranosticDose", "DoseSegmentation"):
        scripts = [name for name in files(module, "*.py") if not name.startswith("Testing/")]
        resources = [name for name in files(module, "*") if name.startswith("Resources/")]
        # Data beside the code of a library (templates, schemas) go with the resources.
        packages = [name for name in files(module, "*") if "/" in name and not name.startswith("Resources/")]
        resources += [
            name for name in packages if not name.endswith((".py", ".txt.in")) and "Testing" not in name
        ]
        found[f"{module}/CMakeLists.txt"] = {
            "MODULE_PYTHON_SCRIPTS": scripts,
            "MODULE_PYTHON_RESOURCES": sorted(resources),
        }
    return found


def updated(text: str, name: str, entries: list[str]) -> str:
    """Return the text of a CMake file with the list of this name replaced."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    start, stop = text.index(begin) + len(begin), text.index(end)
    body = "".join(f"  {entry}\n" for entry in entries)
    return f"{text[:start]}\nset({name}\n{body}  )\n{text[stop:]}"


def main() -> int:
    """Write or check the lists."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit status 1 where a list is old"
    )
    check = parser.parse_args().check
    old = []
    for path, named in lists().items():
        file = CHECKOUT / path
        text = wanted = file.read_text(encoding="utf-8")
        for name, entries in named.items():
            wanted = updated(wanted, name, entries)
        if wanted != text:
            old.append(path)
            if not check:
                file.write_text(wanted, encoding="utf-8")
    sys.stdout.write("".join(f"{'not up to date' if check else 'written'}: {path}\n" for path in old))
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
