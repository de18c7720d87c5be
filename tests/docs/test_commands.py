"""Every command and every program in the documents does what the text around it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import Serve
from tests.docs.documents import ROOT, RUN, Block, blocks

_TIMEOUT: Final = 30.0
_DEMO: Final = "8080"
_TASK: Final = re.compile(r"task_[0-9A-Z]{26}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d\d:\d\d:\d\d UTC")


class Reader:
    """Somebody who does what a document says, from its top to its end, in a folder of their own."""

    def __init__(self, document: Path, folder: Path, serve: Serve) -> None:
        self._document = document
        self._folder = folder
        self._serve = serve
        self._ports: dict[str, str] = {}
        self._output = ""
        self._task_id = ""
        (folder / "examples").symlink_to(ROOT / "examples")
        (folder / ".curlrc").write_text("silent\nshow-error\nmax-time = 20\n", encoding="utf-8")

    def follow(self, block: Block) -> None:
        """Do with ``block`` what it is there for."""
        if block.action == "file":
            (self._folder / block.argument).write_text(self._ported(block.code), encoding="utf-8")
        elif block.action == "serve":
            self._start(block)
        elif block.action == "output":
            self._compare(block)
        elif block.runs:
            self._run(block)

    def _start(self, block: Block) -> None:
        program, command, *args = shlex.split(block.code)
        assert (program, command) == ("palaver", "serve"), self._at(block)
        port = _DEMO
        if "--port" in args:
            position = args.index("--port")
            port = args[position + 1]
            del args[position : position + 2]
        self._ports[port] = str(self._serve(*args, cwd=self._folder).port)

    def _run(self, block: Block) -> None:
        code = self._ported(block.code).replace("TASK_ID", self._task_id)
        if block.language == "python":
            program = self._folder / f"line_{block.line}.py"
            program.write_text(code, encoding="utf-8")
            command = [sys.executable, str(program)]
        else:
            command = ["bash", "-euc", code]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=os.environ | self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        self._output = done.stdout
        if found := _TASK.findall(done.stdout):
            self._task_id = found[-1]
        wanted = int(block.argument) if block.action == "exit" else 0
        assert done.returncode == wanted, f"{self._at(block)}: {done.returncode}\n{done.stdout}"
        # A refusal has the HTTP status 200, so curl is content: what is meant to be refused is
        # shown with its output.
        self._check_refusals(block)

    def _check_refusals(self, block: Block) -> None:
        everything = blocks(self._document)
        following = everything[everything.index(block) + 1 :]
        shown = bool(following) and following[0].action == "output"
        assert shown or '"error":{' not in self._output, f"{self._at(block)}: {self._output}"

    def _environment(self) -> dict[str, str]:
        home = str(self._folder)
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": home,
            "XDG_STATE_HOME": home,
            "CURL_HOME": home,
            "COLUMNS": "100",
        }

    def _ported(self, code: str) -> str:
        """Put the ports of the servers in; the demo agent is started when it is wanted."""
        if f"127.0.0.1:{_DEMO}" in code and _DEMO not in self._ports:
            self._ports[_DEMO] = str(self._serve().port)
        for port, real in self._ports.items():
            code = code.replace(f"127.0.0.1:{port}", f"127.0.0.1:{real}")
        return code

    def _compare(self, block: Block) -> None:
        pattern = "".join(
            r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line).replace("…", ".*") + "\n"
            for line in self._plain(block.code).splitlines()
        )
        seen = self._plain(self._output)
        assert re.fullmatch(pattern, seen), f"{self._at(block)}: it was\n{self._output}"

    def _plain(self, text: str) -> str:
        for port, real in self._ports.items():
            text = text.replace(f"127.0.0.1:{real}", f"127.0.0.1:{port}")
        lines = _TIME.sub("TIME", text).strip("\n").splitlines()
        return "".join(f"{line.rstrip()}\n" for line in lines if line != ": hb")

    def _at(self, block: Block) -> str:
        return f"{self._document.relative_to(ROOT)}:{block.line}"


@pytest.mark.timeout(180)  # a call lasts as long as what is said in it
@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_what_a_document_tells_to_do_works(document: Path, tmp_path: Path, serve: Serve) -> None:
    """Who follows the document from its top to its end sees what it says."""
    reader = Reader(document, tmp_path, serve)
    for block in blocks(document):
        reader.follow(block)
