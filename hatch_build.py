"""The audio path as machine code, for those who ask for it: a hook of the wheel's build.

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 pip wheel .

mypyc compiles the modules that the audio of every call runs through; it needs a C compiler. Their
sources go into the wheel as well, for who reads them. Nothing is written into the checkout: a
library that stayed in ``src`` would be imported in place of its source from then on.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

MODULES: Final = (
    "palaver.protocols.asp.inbound",
    "palaver.speech.batch",
    "palaver.speech.endpointing",
    "palaver.speech.feed",
    "palaver.speech.hearing",
    "palaver.speech.kept_audio",
    "palaver.speech.marks",
)
"""What is compiled: what runs for each message of each call, and is subclassed by nobody."""


class CompiledAudioPath(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled modules to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name to the wheel what came of it; an editable install stays as it is."""
        if version == "editable":
            return
        self._built = TemporaryDirectory(prefix="palaver-compiled-")
        libraries = Path(self._built.name, "libraries")
        _compile(Path(self.root), Path(self._built.name), libraries)
        for library in sorted(path for path in libraries.rglob("*") if path.is_file()):
            build_data["force_include"][str(library)] = library.relative_to(libraries).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, *_: Any) -> None:
        """Remove what the wheel holds now."""
        if version != "editable":
            self._built.cleanup()


def _compile(root: Path, scratch: Path, libraries: Path) -> None:
    """Compile the modules of the checkout at ``root`` into ``libraries``."""
    options = ["--config-file", str(root / "pyproject.toml"), "--cache-dir", str(scratch / "cache")]
    before = Path.cwd()
    os.chdir(root / "src")  # so that a traceback names palaver/speech/… and no folder of a build
    try:
        extensions = mypycify(
            [*options, *(f"{name.replace('.', '/')}.py" for name in MODULES)],
            debug_level="0",
            target_dir=str(scratch / "c"),
            group_name="palaver_audio_path",  # without it a number, another in each version
        )
        command = build_ext(Distribution({"name": "palaver", "ext_modules": extensions}))
        command.build_lib = str(libraries)
        command.build_temp = str(scratch / "objects")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(before)
