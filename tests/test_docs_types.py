"""The code of the README and of the pages in docs/ has no errors for a strict type checker, as its readers copy it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_of(page: Path) -> str:
    """The code of a page as one module, at the lines at which the page has it."""
    text, code = page.read_text(), ""
    for found in FENCE.finditer(text):
        if ">>>" not in found[1]:
            code += "\n" * (text.count("\n", 0, found.start(1)) - code.count("\n")) + found[1]
    return code


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says about all pages at once: Headway's own modules are read once."""
    folder = tmp_path_factory.mktemp("pages")
    modules = []
    for page in PAGES:
        code = code_of(page)
        said = re.search(r"<!-- (mypy: .*) -->", page.read_text())
        if said:
            code = f"# {said[1]}\n{code}"
        if code:
            modules.append(folder / f"{page.stem.lower().replace('-', '_')}_page.py")
            modules[-1].write_text(code)
    assert len(modules) > 5
    config = folder / "mypy.ini"
    config.write_text("[mypy]\n")
    options = ["--strict", "--follow-imports=silent", f"--config-file={config}", f"--cache-dir={folder / 'cache'}"]
    output, problems, _ = api.run([*options, *map(str, modules)])
    assert problems == ""
    return [line for line in output.splitlines() if ": error: " in line]


def test_no_page_has_type_errors(errors: list[str]) -> None:
    assert errors == []
