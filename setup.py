"""What pyproject.toml cannot say: the modules that are compiled. See src/headway/compiled.py."""

import os
import runpy

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    """The modules to compile; none where that is not wanted, or Cython is not there."""
    if os.environ.get("HEADWAY_PURE", "0") not in ("", "0"):
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    lists = runpy.run_path("src/headway/compiled.py")
    sources = [(name, ".py") for name in lists["HOT"]] + [(name, ".pyx") for name in lists["EXTENSIONS"]]
    modules = [Extension(name, ["src/" + name.replace(".", "/") + suffix]) for name, suffix in sources]
    directives = {"language_level": "3", "annotation_typing": False, "always_allow_keywords": True, "binding": True}
    made: list[Extension] = cythonize(
        modules, build_dir="build/cython", compiler_directives=directives, include_path=["src"], quiet=True
    )
    for module in made:
        module.optional = True  # Without a C compiler, Headway is installed as plain Python.
    return made


setup(ext_modules=extensions(), options={"build_ext": {"parallel": os.cpu_count()}})
