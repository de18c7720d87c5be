"""A wheel with the audio path compiled, for those who ask for it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
_TIMEOUT: Final = 240.0
_COMPILED: Final = {
    "palaver/protocols/asp/inbound",
    "palaver/speech/batch",
    "palaver/speech/endpointing",
    "palaver/speech/feed",
    "palaver/speech/hearing",
    "palaver/speech/kept_audio",
    "palaver/speech/marks",
}
_SHARED: Final = "palaver_audio_path__mypyc"  # what they have in common
_TESTS: Final = (
    *(f"tests/speech/test_{name}.py" for name in ("batch", "endpointing", "firmness", "following")),
    *(f"tests/speech/test_{name}.py" for name in ("hearing", "joining", "presets")),
    *(f"tests/protocols/asp/test_{name}.py" for name in ("audio", "flood", "frames", "legacy")),
    *(f"tests/protocols/asp/test_{name}.py" for name in ("resumption", "statistics")),
    *(f"tests/protocols/asp/test_{name}.py" for name in ("updates", "usual_audio")),
)
"""What is held against the compiled modules: the tests of all that they do."""
_RECORDING: Final = ROOT / "tests/speech/sounds/requests_in_two_languages.wav"


def _why_not() -> str | None:
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler {compiler} on this machine"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "the headers of Python are not on this machine"
    return None


_WHY_NOT: Final = _why_not()


def _run(*args: str, package: Path | None = None, **more: str) -> str:
    """Run Python in a process of its own, unmeasured, with ``palaver`` from ``package``."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PY"))}
    path = os.pathsep.join(str(folder) for folder in (package, ROOT) if folder is not None)
    done = subprocess.run(
        [sys.executable, *args],
        cwd=ROOT,
        env=env | {"PYTHONPATH": path} | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _libraries(folder: Path) -> set[str]:
    """Return the compiled modules below ``folder``, without the suffix."""
    found = set()
    for suffix in EXTENSION_SUFFIXES:
        found |= {
            path.relative_to(folder).as_posix().partition(".")[0]
            for path in folder.rglob(f"*{suffix}")
        }
    return found


@pytest.mark.skipif(_WHY_NOT is not None, reason=str(_WHY_NOT))
@pytest.mark.timeout(480)  # the compiler alone takes twenty seconds of an idle core
def test_the_compiled_audio_path_is_the_same(tmp_path: Path) -> None:
    """Seven modules and no other; they pass their tests, and hear to the bit what is heard here."""
    wheels, installed = tmp_path / "wheels", tmp_path / "installed"
    build = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels))
    _run(*build, str(ROOT), HATCH_BUILD_HOOK_ENABLE_CUSTOM="1")
    [wheel] = wheels.iterdir()
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert _libraries(installed) == {*_COMPILED, _SHARED}
    assert _libraries(ROOT / "src") == set()  # or the next import would be of something else

    where = "import palaver.speech.hearing as h; print(h.__file__)"
    found = _run("-c", where, package=installed).strip()
    assert found.startswith(str(installed))
    assert found.endswith(tuple(EXTENSION_SUFFIXES))
    checks = json.loads(
        _run("-m", "palaver", "doctor", "--store", "memory:", "--json", package=installed)
    )
    assert {"what": "audio path", "good": True, "detail": "compiled"} in checks

    hear = (str(Path(__file__).with_name("heard_audio.py")), str(_RECORDING))
    heard = _run(*hear, package=installed)
    assert heard.count("SpeechEnded") > 50
    assert heard == _run(*hear, package=ROOT / "src")

    alone = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov")
    _run("-m", "pytest", "-q", *alone, *_TESTS, package=installed)


def test_a_wheel_is_of_python_alone_unless_asked(tmp_path: Path) -> None:
    """Without the variable nothing is compiled: the wheel is for every machine."""
    build = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir")
    _run(*build, str(tmp_path), str(ROOT))
    [wheel] = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(tuple(EXTENSION_SUFFIXES))]
