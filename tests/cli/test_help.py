import pytest

from tests.cli.conftest import Run


def test_help(run: Run) -> None:
    """``palaver --help`` names each command, and what the exit codes mean."""
    ended = run("--help")
    assert ended.code == 0
    for word in (
        "serve",
        "call",
        "talk",
        "inspect",
        "doctor",
        "asp",
        "Exit codes: 0 done",
        "130 interrupted",
    ):
        assert word in ended.out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "serve",
            [
                "--host",
                "--port",
                "--asp-port",
                "--store",
                "--config",
                "--set",
                "--insecure",
                "TARGET",
            ],
        ),
        ("call", ["--wire", "--json", "--task", "--after", "--conversation", "URL", "TEXT"]),
        ("inspect", ["--json", "URL"]),
        ("doctor", ["--json", "--store", "--port", "--config"]),
        ("talk", ["--save", "--vad", "--fast", "--timeline", "--mic", "--json", "URL", "FILE"]),
        ("asp debug", ["--json", "--vad", "--update", "--audio", "--legacy", "--version", "URL"]),
    ],
)
def test_help_of_a_command(run: Run, command: str, words: list[str]) -> None:
    """Each command explains its options."""
    ended = run(*command.split(), "--help")
    assert ended.code == 0
    for word in words:
        assert word.lower() in ended.out.lower()


@pytest.mark.parametrize(
    "args", [[], ["nope"], ["serve", "--port", "x"], ["call"], ["--nope"], ["asp"]]
)
def test_wrong_usage(run: Run, args: list[str]) -> None:
    """What the command line does not know is exit code 2."""
    assert run(*args).code == 2
