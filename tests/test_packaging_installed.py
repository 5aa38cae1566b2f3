"""What is packaged can be installed by anybody: with a C compiler, without one, and where Cython fails."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headway.basics import compiled
from headway.generate.shop import ShopOptions, generate_shop

ROOT = Path(__file__).resolve().parent.parent

pytest.importorskip("Cython", reason="Cython builds the compiled part")


class Packages(NamedTuple):
    sdist: Path
    source: Path
    """The source distribution, unpacked."""


def call(*command: object, cwd: Path, **environment: str) -> str:
    """Run a command as a user would have it: nothing of this checkout in its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HEADWAY"))}
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(kind: str, source: Path, into: Path, **environment: str) -> Path:
    """Build a distribution as pip does, with what is installed here."""
    into.mkdir(exist_ok=True)
    hook = f"from setuptools import build_meta; build_meta.build_{kind}({str(into)!r})"
    call(sys.executable, "-c", hook, cwd=source, **environment)
    [found] = into.iterdir()
    return found


def is_left_over(name: str) -> bool:
    """Whether a file of a package is what only a checkout has."""
    return name.endswith((".so", ".c", ".pyc")) or not {"tests", "benchmarks", "build"}.isdisjoint(Path(name).parts)


def names_in(archive: Path) -> set[str]:
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as opened:
        return {member.name.partition("/")[2] for member in opened if member.isfile()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The source distribution of a fresh checkout."""
    folder = tmp_path_factory.mktemp("packages")
    clone = folder / "clone"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "build", "*.so", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, clone, symlinks=True, ignore=ignored)
    sdist = build("sdist", clone, folder / "sdist")
    with tarfile.open(sdist) as opened:
        opened.extractall(folder / "source")
    [source] = (folder / "source").iterdir()
    return Packages(sdist, source)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An empty environment, in which what Headway depends on is found where it is here; returns its Python."""
    venv.create(tmp_path / "environment", with_pip=False)
    python = tmp_path / "environment" / "bin" / "python"
    packages_here = call(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=tmp_path).strip()
    there = [place for place in site.getsitepackages() if Path(place, "bytewax").exists()]
    # A folder for the dependencies alone: this environment has Headway itself, as an editable installation.
    links = tmp_path / "dependencies"
    links.mkdir()
    for entry in Path(there[0]).iterdir():
        if "headway" not in entry.name and entry.suffix != ".pth":
            (links / entry.name).symlink_to(entry)
    Path(packages_here, "dependencies.pth").write_text(f"{links}\n")
    return python


def install(python: Path, wheel: Path) -> None:
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=wheel.parent)


def run_carts(python: Path, folder: Path) -> tuple[dict[str, Any], int]:
    """Run a flow that ships, with two workers; what the run says of itself, and how many triggers it wrote."""
    generate_shop(ShopOptions(events=3_000, users=300, disorder_ms=2_000, seed=5), folder / "shop")
    settings = {"input": f"{folder}/shop/shop-*.jsonl", "output": f"{folder}/triggers.jsonl", "after": "10m"}
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = [python.parent / "headway", "run", "headway.flows.abandoned_carts", *sets, "--drain"]
    said = call(*command, "--json", "--workers", "2", cwd=folder)
    return json.loads(said.splitlines()[-1]), (folder / "triggers.jsonl").read_bytes().count(b"\n")


def test_the_source_distribution_has_what_is_compiled_and_no_more(packages: Packages) -> None:
    names = names_in(packages.sdist)
    wanted = {
        f"src/headway/{path.relative_to(ROOT / 'src' / 'headway')}"
        for pattern in ("*.py", "*.pyi", "*.pyx", "*.pxd", "py.typed")
        for top in ("", "operators", "state", "flows")
        for path in (ROOT / "src" / "headway" / top).rglob(pattern)
        if "__pycache__" not in path.parts
    }
    assert wanted | {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= names
    assert not list(filter(is_left_over, names))


def test_without_a_compiler(packages: Packages, environment: Path, tmp_path: Path) -> None:
    """It is told, and plain Python runs: same triggers, and the run says that it could be faster."""
    wheel = build("wheel", packages.source, tmp_path / "wheel", CC=shutil.which("false") or "false")
    names = names_in(wheel)
    assert {"headway/flows/abandoned_carts.py", "headway/py.typed", "headway/basics/_scan.pyi"} <= names
    assert {"headway/operators/base.py", "headway/state/rows.py", "headway/runtime/stage.py"} <= names
    assert not [name for name in names if name.endswith((".pyx", ".pxd")) or is_left_over(name)]
    install(environment, wheel)
    ending, written = run_carts(environment, tmp_path)
    assert written > 50
    assert "not compiled" in ending["hot_path"]
    [notice] = ending["notices"]
    assert "install a C compiler" in notice
    assert "install a C compiler" in call(environment.parent / "headway", "version", cwd=tmp_path)


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_with_a_compiler(packages: Packages, environment: Path, tmp_path: Path) -> None:
    wheel = build("wheel", packages.source, tmp_path / "wheel")
    built = {name.partition(".")[0] for name in names_in(wheel) if name.endswith(".so")}
    assert built == {name.replace(".", "/") for name in (*compiled.HOT, *compiled.EXTENSIONS)}
    install(environment, wheel)
    ending, written = run_carts(environment, tmp_path)
    assert written > 50
    assert (ending["hot_path"], ending["notices"]) == ("compiled", [])


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    "broken", [{"headway.state.rows"}, {"headway.runtime.triggers", "headway.basics._scan"}], ids=str
)
def test_a_module_that_does_not_compile_takes_no_other_with_it(
    packages: Packages, environment: Path, tmp_path: Path, broken: set[str]
) -> None:
    """But for those that know its C types."""
    source = tmp_path / "source"
    shutil.copytree(packages.source, source)
    for name in broken:
        path = source / "src" / name.replace(".", "/")
        if name in compiled.HOT:
            with path.with_suffix(".pxd").open("a") as declarations:
                declarations.write("\ncdef nothing that is C\n")
        else:
            path.with_suffix(".pyx").unlink()
    install(environment, build("wheel", source, tmp_path / "wheel"))
    ending, written = run_carts(environment, tmp_path)
    assert written > 50
    off = set(compiled.TOGETHER) if broken & set(compiled.TOGETHER) else broken
    how = ending["hot_path"]
    assert how.startswith("compiled but for ")
    assert set(how.removeprefix("compiled but for ").partition(" (")[0].split(", ")) == off
