"""What pyproject.toml cannot say: the modules that are compiled. See src/headway/basics/compiled.py."""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

JOBS = os.cpu_count() or 1
DIRECTIVES = {"language_level": "3", "annotation_typing": False, "always_allow_keywords": True, "binding": True}
# Twice as fast to compile as what Python itself was built with, and the result is as fast.
FLAGS = ["-O2", "-g0"]


class CompileWhatCan(build_ext):
    """Compiles each module that can be; Headway is installed in any case, and the others run as plain Python.

    From Python to C in here and not in `setup`, which every step of an installation reads anew.
    """

    def build_extensions(self) -> None:
        """Compile, when there is what it takes."""
        self.extensions = self._in_c() if self._has_compiler() else []
        for module in self.extensions:
            module.optional = True  # One that C does not take is left out as well.
        super().build_extensions()

    def _has_compiler(self) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("#include <Python.h>\n")
            try:
                self.compiler.compile([str(source)], output_dir=folder)
            except (BaseError, CCompilerError, OSError) as error:
                tell(f"there is no C compiler that finds Python.h ({str(error)[:80]})")
                return False
        return True

    def _in_c(self) -> list[Extension]:
        try:
            from Cython.Build import cythonize
        except ImportError as error:
            tell(f"there is no Cython ({error})")
            return []
        found = []
        for module in self.extensions:
            try:
                # One by one, so that those that fail leave the others alone. It is C that takes the time.
                [made] = cythonize(
                    [Extension(module.name, module.sources)],
                    build_dir="build/cython",
                    compiler_directives=DIRECTIVES,
                    include_path=["src"],
                    quiet=True,
                )
            except Exception as error:
                tell(f"Cython does not take it ({error})", module.name)
            else:
                module.sources = made.sources
                found.append(module)
        return found


def tell(reason: str, name: str = "Headway") -> None:
    """Say why something is not compiled."""
    sys.stderr.write(f"{name} is installed as plain Python, which is slower: {reason}\n")


def extensions() -> list[Extension]:
    """The modules to compile; none where that is not wanted."""
    if os.environ.get("HEADWAY_PURE", "0") not in ("", "0"):
        return []
    lists = runpy.run_path("src/headway/basics/compiled.py")
    sources = [(name, ".py") for name in lists["HOT"]] + [(name, ".pyx") for name in lists["EXTENSIONS"]]
    return [
        Extension(name, ["src/" + name.replace(".", "/") + suffix], extra_compile_args=FLAGS)
        for name, suffix in sources
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": CompileWhatCan},
    options={"build_ext": {"parallel": JOBS}},
)
