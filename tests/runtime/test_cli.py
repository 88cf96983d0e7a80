"""The commands by exit code, standard output and standard error."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from tlx.runtime import load
from tlx.runtime.program import run

RUN = [sys.executable, "-c", "from tlx.runtime.program import main; main()"]


@dataclass(frozen=True, kw_only=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


class Tlx(Protocol):
    def __call__(self, *arguments: object, stdin: str | bytes = "") -> Done: ...


@pytest.fixture
def tlx(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tlx:
    """Runs `tlx` with these arguments in this process, which saves a second for each test."""

    def call(*arguments: object, stdin: str | bytes = "") -> Done:
        content = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(returncode=code, stdout=captured.out, stderr=captured.err)

    return call


def assert_refused(done: Done, code: int, *parts: str) -> None:
    """One line on stderr, with these parts, and nothing on stdout."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tlx: error: ")
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def data(tmp_path: Path, tiny_folder: Path) -> Path:
    """Four rows, three of them labelled with what the model answers."""
    texts = ["play some music", "what is the weather", "turn off the lights", "cancel, my card"]
    labels = [answer["label"] for answer in load(tiny_folder)(texts)]
    labels[3] = next(label for label in ("card", "lights") if label != labels[3])
    with (tmp_path / "data.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *zip(texts, labels, strict=True)])
    return tmp_path / "data.csv"


def test_predict_answers_as_load_does(tlx: Tlx, tiny_folder: Path) -> None:
    done = tlx("predict", tiny_folder, "play some music", "thanks", "--json")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    expected = load(tiny_folder)(iter(["play some music", "thanks"]))
    assert records == [{"text": t, **a} for t, a in zip(["play some music", "thanks"], expected, strict=True)]


def test_predict_reads_lines_of_stdin_and_keeps_empty_ones(tlx: Tlx, tiny_folder: Path) -> None:
    done = tlx("predict", tiny_folder, "--json", "--top-k", "2", stdin="play é\n\nthanks\r\n")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["text"] for record in records] == ["play é", "", "thanks"]
    assert [len(record["labels"]) for record in records] == [2, 2, 2]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predict_writes_a_file_in_the_order_of_the_input(tlx: Tlx, suffix: str, tiny_folder: Path, data: Path) -> None:
    output = data.parent / f"out{suffix}"
    done = tlx("predict", tiny_folder, "--input", data, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    if suffix == ".csv":
        with output.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    else:
        rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["text"] for row in rows][-1] == "cancel, my card"
    assert set(rows[0]) == {"text", "label", "score"}
    assert sorted(path.name for path in data.parent.iterdir()) == ["data.csv", output.name]


def test_predict_shows_multi_label_answers_over_their_thresholds(tlx: Tlx, tiny_multi_label_folder: Path) -> None:
    done = tlx("predict", tiny_multi_label_folder, "play some music", "--json")
    expected = load(tiny_multi_label_folder)("play some music", top_k="threshold")
    assert json.loads(done.stdout) == {"text": "play some music", "labels": expected}


def test_predict_tells_truncation_on_stderr(tiny_folder: Path) -> None:
    arguments = [*RUN, "predict", str(tiny_folder), "music " * 100]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "tlx: warning: a text is longer than the model's 64 tokens and was truncated (said once; `truncated` counts them)",
        "1 of 1 texts were truncated",
    ]


def test_eval_ends_in_the_metrics(tlx: Tlx, tiny_folder: Path, data: Path) -> None:
    done = tlx("eval", tiny_folder, data, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {key: result[key] for key in ("task", "variant", "n")} == {
        "task": "text-classification",
        "variant": "fp32",
        "n": 4,
    }
    assert result["metrics"]["accuracy"] == 0.75
    assert "accuracy" in tlx("eval", tiny_folder, data).stdout


def test_bench_ends_in_the_figures(tlx: Tlx, tiny_folder: Path, data: Path) -> None:
    done = tlx("bench", tiny_folder, "--data", data, "--threads", 1, "--seconds", 0.1, "--json")
    assert done.returncode == 0, done.stderr
    keys = "variant threads p50_ms p99_ms texts_per_s cold_start_s size_bytes peak_rss_bytes"
    assert set(json.loads(done.stdout)) == set(keys.split())


def test_inspect_checks_every_file(tlx: Tlx, tiny_folder: Path, tmp_path: Path) -> None:
    done = tlx("inspect", tiny_folder)
    assert done.returncode == 0
    assert "4 labels: card, lights, music, weather" in done.stdout
    assert "3 files are what the manifest says" in done.stderr
    damaged = shutil.copytree(tiny_folder, tmp_path / "model")
    with (damaged / "config.json").open("a") as stream:
        stream.write(" ")
    done = tlx("inspect", damaged, "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["faults"]) == 1
    assert "config.json has" in done.stderr


def test_doctor_tells_what_starts(tlx: Tlx) -> None:
    found = json.loads(tlx("doctor", "--json").stdout)
    assert found["providers"]["CPUExecutionProvider"] is None
    assert found["machine"]["cores"] >= 1
    assert found["packages"]["numpy"]
    assert "CPUExecutionProvider: starts" in tlx("doctor").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["predict", "NOWHERE", "x"], 1, ["NOWHERE does not exist"]),
        (["predict", "FOLDER", "x", "--variant", "int8"], 2, ["has no variant 'int8'", "--precision int8`"]),
        (["predict", "FOLDER", "x", "--top-k", "0"], 2, ["--top-k is '0': wanted"]),
        (["predict", "FOLDER", "x", "--threads", "0"], 2, ["--threads", "tlx predict --help"]),
        (["predict", "FOLDER", "x", "--device", "tpu"], 2, ["unknown device 'tpu'"]),
        (["predict", "FOLDER", "--input", "none.csv"], 1, ["none.csv does not exist"]),
        (["predict", "FOLDER", "--input", "a.csv", "x"], 2, ["both TEXT and --input"]),
        (["predict", "FOLDER", "x", "--text-pair", "b"], 2, ["--text-pair b", "a file: give it with --input FILE"]),
        (["predict", "FOLDER", "--input", "lines.txt", "--text", "b"], 2, ["has no columns: leave --text b out"]),
        (["predict", "FOLDER", "x", "--top-k", "²"], 2, ["--top-k is '²': wanted"]),
        (["bench", "FOLDER", "--text", "b"], 2, ["--text b", "a file: give it with --data FILE"]),
        (["predict", "FOLDER", "x", "--output", "out.xml"], 2, ["--output out.xml ends in .xml"]),
        (["predict", "FOLDER", "x", "--output", "no/out.csv"], 2, ["the folder no does not exist"]),
        (["predict", "FOLDER", "x", "--colour"], 2, ["--colour", "tlx predict --help"]),
        (["eval", "FOLDER"], 2, ["Missing argument", "tlx eval --help"]),
        (["eval", "FOLDER", "none.csv"], 1, ["none.csv does not exist"]),
        (["inspect", "NOWHERE"], 1, ["NOWHERE does not exist"]),
        (["dance"], 2, ["No such command 'dance'"]),
    ],
)
def test_wrong_use_is_one_line_and_an_exit_code(
    tlx: Tlx, arguments: list[str], code: int, parts: list[str], tiny_folder: Path
) -> None:
    done = tlx(*(str(tiny_folder) if item == "FOLDER" else item for item in arguments))
    assert_refused(done, code, *parts)


def test_lines_longer_than_a_read_and_many_of_them_stay_in_step(tlx: Tlx, tiny_folder: Path) -> None:
    texts = [" \u3000" * (number % 7 * 90) + str(number) for number in range(3000)]
    done = tlx("predict", tiny_folder, "--json", stdin="\n".join(texts))
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == texts


def test_stdin_that_is_not_utf8_is_refused(tlx: Tlx, tiny_folder: Path) -> None:
    done = tlx("predict", tiny_folder, stdin=b"play\nb\xff\n")
    assert_refused(done, 1, "standard input is not UTF-8")


def test_a_failed_predict_leaves_no_output(tlx: Tlx, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"text": ["b"]}\n')
    done = tlx("predict", tiny_folder, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv")
    assert_refused(done, 1, "in.jsonl line 2: column 'text' holds a list: wanted a text")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_missing_text_is_an_empty_one_in_every_format(tlx: Tlx, tiny_folder: Path, tmp_path: Path) -> None:
    for name, content in (
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n'),
        ("a.csv", 'text\na\n""\n'),
        ("a.txt", "a\n\n"),
    ):
        (tmp_path / name).write_text(content)
        lines = tlx("predict", tiny_folder, "--input", tmp_path / name, "--json").stdout.splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["a", ""]


def test_what_a_device_needs_is_enough_to_answer_and_to_be_inspected(
    tlx: Tlx, tiny_folder: Path, tmp_path: Path
) -> None:
    needed = ("tlx.json", "tokenizer.json", "onnx/model.onnx")
    (tmp_path / "device" / "onnx").mkdir(parents=True)
    for name in needed:
        shutil.copy(tiny_folder / name, tmp_path / "device" / name)
    done = tlx("inspect", tmp_path / "device")
    assert done.returncode == 0, done.stderr
    assert "not here, and not needed to answer: config.json" in done.stderr
    assert tlx("predict", tmp_path / "device", "play", "--json").returncode == 0
    (tmp_path / "device" / "tokenizer.json").unlink()
    done = tlx("inspect", tmp_path / "device")
    assert (done.returncode, "tokenizer.json is missing" in done.stderr) == (1, True)


def test_standard_streams_that_are_closed_are_no_tracebacks(tiny_folder: Path) -> None:
    program = [*RUN, "predict", str(tiny_folder)]
    for command, code, told in (
        (f"{shlex.join(program)} <&-", 2, "there is nothing to answer: give texts, --input FILE"),
        (f"{shlex.join([*program, 'play'])} >&-", 0, ""),
    ):
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert (done.returncode, "Traceback" in done.stderr, told in done.stderr) == (code, False, True)


def test_an_output_that_is_a_folder_is_refused(tlx: Tlx, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    done = tlx("predict", tiny_folder, "play", "--output", tmp_path / "out.csv")
    assert_refused(done, 2, "out.csv is a folder: name a file")


def test_an_output_that_is_the_input_is_refused(tlx: Tlx, tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "gold.csv"
    path.write_text("text,label\nplay,music\n")
    done = tlx("predict", tiny_folder, "--input", path, "--output", tmp_path / "." / "gold.csv")
    assert_refused(done, 2, "is the file of --input, whose labels it would take the place of")
    assert path.read_text() == "text,label\nplay,music\n"


def test_an_error_is_no_longer_than_a_screen(tlx: Tlx, tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "columns.json"
    path.write_text(
        json.dumps({"text": {str(n): "play" for n in range(999)}, "label": {str(n): "x" for n in range(999)}})
    )
    done = tlx("eval", tiny_folder, path)
    assert_refused(done, 1, "columns.json")
    assert len(done.stderr) < 1100


def test_a_byte_order_mark_on_standard_input_is_no_text(tlx: Tlx, tiny_folder: Path) -> None:
    done = tlx("predict", tiny_folder, "--json", stdin=b"\xef\xbb\xbfplay\n\xef\xbb\xbfplay\n")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["play", "\ufeffplay"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, where no file can be made")
def test_an_output_that_cannot_be_written_is_one_line(tlx: Tlx, tiny_folder: Path) -> None:
    assert_refused(tlx("predict", tiny_folder, "play", "--output", "/proc/out.csv"), 1, "cannot be used:")


def test_answers_are_utf8_whatever_the_locale_says(tiny_folder: Path) -> None:
    done = subprocess.run(
        [*RUN, "predict", str(tiny_folder), "玩 é 🙂", "--json"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert json.loads(done.stdout.decode())["text"] == "玩 é 🙂"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line(tiny_folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*RUN, "predict", str(tiny_folder), "play"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("tlx: error: the disk is full")
    assert "Traceback" not in done.stderr


def predicting(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """`tlx predict` reading from a pipe. A background job ignores SIGINT, and so would its children: here they do not."""
    return subprocess.Popen(
        [*RUN, "predict", str(folder), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_reader_that_has_enough_is_no_error(tiny_folder: Path) -> None:
    lines = "play some music\n" * 20_000
    with predicting(tiny_folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines[: 16 * 4000].encode())
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        try:
            process.stdin.write(lines[16 * 4000 :].encode())
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_program_that_waits_for_each_answer_gets_it(tiny_folder: Path) -> None:
    with predicting(tiny_folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for count in [1, 1, 1, 2, 1, 7, 300, 1, 1]:
            process.stdin.write(b"".join(b"play song %d\n" % number for number in range(count)))
            process.stdin.flush()
            answers = b""
            while answers.count(b"\n") < count:
                assert select.select([process.stdout], [], [], 60)[0], "no answer comes while the program waits"
                answers += os.read(process.stdout.fileno(), 65536)
            texts = [line.partition(b"\t")[2] for line in answers.splitlines()]
            assert texts == [b"play song %d" % number for number in range(count)]
        process.stdin.write(b"a last line without its end")
        process.stdin.close()
        assert process.stdout.read().endswith(b"\ta last line without its end\n")
        assert process.wait() == 0


COMMANDS = ["train", "export", "predict", "eval", "bench", "inspect", "doctor", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(tlx: Tlx, command: str) -> None:
    done = tlx(command, "--help")
    assert done.returncode == 0
    assert re.search(f"Examples?: +tlx {command}", done.stdout)
    assert "--json" in done.stdout


def test_version_is_printed(tlx: Tlx) -> None:
    done = tlx("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("tlx ")


def test_an_interrupt_is_one_line_and_exit_code_130(tiny_folder: Path) -> None:
    with predicting(tiny_folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"play some music\n")
        process.stdin.flush()
        process.stdout.readline()  # it runs, and waits for the next line
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b"tlx: error: interrupted\n"


def test_a_predict_that_is_terminated_leaves_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    with predicting(tiny_folder, "--output", str(tmp_path / "out.csv")) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"play some music\n")
        process.stdin.flush()
        while not list(tmp_path.iterdir()):  # until it writes
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
        assert process.stderr.read() == b"tlx: error: terminated\n"
    assert list(tmp_path.iterdir()) == []
