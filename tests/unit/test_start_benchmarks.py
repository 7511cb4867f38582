"""The benchmarks of a process's start read the Dockerfile and strace rightly."""

from pathlib import Path

import pytest
from benchmarks import cold_reads, footprint, init, task_folders
from benchmarks.start import ROWS, Start, results


def test_comments_fall_out_of_an_instruction_and_its_lines_become_one():
    text = "# first\nFROM base\n\nRUN one \\\n    # why\n    && two\nCOPY a b\n"
    found = [(name, " ".join(words.split())) for name, words in task_folders.instructions(text)]
    assert found == [("FROM", "base"), ("RUN", "one && two"), ("COPY", "a b")]


def test_of_the_model_folder_the_image_gets_the_model_alone():
    found = [file.name for file in task_folders.let_through("model")]
    assert found == ["classifier.onnx"]


def test_of_the_service_the_image_gets_its_code_without_bytecode():
    found = task_folders.let_through("serving")
    assert {"app.py", "page.html"} <= {file.name for file in found}
    assert not [file for file in found if file.suffix == ".pyc"]


def test_a_run_line_that_names_an_absolute_path_is_not_run_here(tmp_path):
    with pytest.raises(ValueError, match="absolute path"):
        task_folders._run_in(tmp_path, tmp_path, "touch here && rm -rf /var/cache")
    assert not list(tmp_path.iterdir())


def test_no_line_of_the_dockerfile_is_refused():
    text = (task_folders.ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [words for name, words in task_folders.instructions(text) if name == "RUN"]
    assert lines
    assert not [line for line in lines if task_folders._ABSOLUTE_PATH.search(line)]


def test_the_size_of_a_folder_counts_files_once_by_what_they_lie_in(tmp_path):
    (tmp_path / "package" / "deep").mkdir(parents=True)
    (tmp_path / "package" / "a").write_bytes(b"12")
    (tmp_path / "package" / "deep" / "b").write_bytes(b"345")
    (tmp_path / "alone").write_bytes(b"6")
    (tmp_path / "link").symlink_to(tmp_path / "alone")
    assert footprint.sizes(tmp_path) == {"package": 5, "alone": 1}


def test_of_straces_lines_the_bytes_that_files_gave_are_counted(tmp_path):
    file = tmp_path / "module.py"
    file.write_bytes(b"x" * 100)
    log = f"""7 openat(AT_FDCWD, "{file}", O_RDONLY|O_CLOEXEC) = 3<{file}>
7 read(3<{file}>, "xx"..., 60) = 60
8 pread64(3<{file}>, "xx"..., 40, 60) = 40
7 read(0<pipe:[1]>, "xx"..., 60) = 60
7 openat(AT_FDCWD, "/nowhere", O_RDONLY) = -1 ENOENT (No such file or directory)
7 read(4</proc/self/status>, "xx"..., 60) = 60
"""
    assert cold_reads.traced(log) == ({str(file): 100}, {str(file): 100})


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("/somewhere/task/serving/app.py", "task/serving/app.py"),
        ("/opt/versions/3/lib/python3.13/json/decoder.py", "python/python3.13/json/decoder.py"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("/home/someone/venv/pyvenv.cfg", "pyvenv.cfg"),
    ],
)
def test_the_reads_name_no_folder_of_the_machine(name: str, wanted: str):
    assert cold_reads.told(name, Path("/somewhere/task")) == wanted


def test_a_start_is_compared_with_the_workshops_of_its_own_round():
    def begun(seconds: float) -> Start:
        memory_kb = {"VmHWM": int(seconds * 10), "Private_Clean": 1, "Private_Dirty": 1}
        return Start(seconds, seconds, seconds, memory_kb)

    slow, fast = [begun(4), begun(40)], [begun(2), begun(20)]
    found = results({"workshop": slow, "URL": fast, "base64": slow})
    assert set(found.ratios) == {f"{row}, {name}" for row in ROWS for name in ("URL", "base64")}
    assert found.ratios["time, URL"].median == 0.5
    assert found.ratios["peak memory, base64"].median == 1


def test_init_is_what_the_first_request_takes_more_and_compared_within_a_round():
    ours = [init.Sandbox(3.0, 1.0), init.Sandbox(30.0, 10.0)]
    workshop = [init.Sandbox(5.0, 1.0), init.Sandbox(50.0, 10.0)]
    found = init.results({"ours": ours, "workshop": workshop})
    assert set(found.ratios) == set(init.ROWS)
    assert found.ratios["INIT"].median == 0.5
    assert found.ratios["first request"].median == 0.6
    assert found.measured["ours"]["first_s"]["median"] == 16.5
