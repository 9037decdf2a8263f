"""What is wrong with a command line, in one line."""

import pytest

from command_line import run


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("replay", "TRACE is missing; usage: tracesim replay [OPTIONS] TRACE..."),
        ("diff a", "B is missing; usage: tracesim diff [OPTIONS] A B"),
        ("diff a b c", "unexpected argument 'c'; usage: tracesim diff [OPTIONS] A B"),
        ("convert a", "OUT is missing; name the file to write after a"),
        (
            "repaly t",
            "there is no command 'repaly'; the commands are replay, validate, ",
        ),
        ("replay t --fomat json", "there is no option --fomat; did you mean --format?"),
        ("replay t --warp", "there is no option --warp; see tracesim replay --help"),
        ("--warp replay t", "there is no option --warp; see tracesim --help"),
        ("replay t --limit", "--limit needs a value"),
        ("replay t --skip-invalid=3", "--skip-invalid takes no value"),
        ("replay t --limit x", "--limit is 'x'; must be an integer >= 1"),
        ("replay t --limit 0", "--limit is 0; must be an integer >= 1"),
        ("replay t --max-num-seqs x", "--max-num-seqs is 'x'; must be an integer >= 1"),
        ("replay t --watermark x", "--watermark is 'x'; must be a number >= 0 and < 1"),
        ("replay t --format xml", "--format is 'xml'; must be one of table, jsonl, json, summary"),
        ("replay t --slo ttft=1s", "--slo needs a clock; choose one with --clock"),
        ("replay t --case a", "--case needs --expect"),
        ("replay - --expect -", "--expect must be a file where a trace is standard input"),
        ("validate t --ignore warp", "--ignore is 'warp'; must be one of missing-file, "),
        ("inspect t --tokenizer=", "--tokenizer is empty; must be a name"),
        ("diff - -", "A and B are both standard input; one of them must be a file"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_option_and_what_is_accepted(
    command: str, message: str
) -> None:
    result = run(*command.split())

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"tracesim: error: {message}")
    assert len(result.stderr.splitlines()) == 1
