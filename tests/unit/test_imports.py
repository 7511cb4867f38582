"""Which room may import which, and which files read the environment: read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BASE = ("serving.errors", "serving.settings", "serving.deferred")
WORK = ("serving.fetch", "serving.images", "serving.model")
HTTP = ("serving.http", "serving.answers")
# What every room of train/ may import; only evaluate/predict.py may import serving.fetch as well.
TRAIN_BASE = (
    *("train", "train.config", "train.errors", "train.files", "train.reading"),
    *("train.database", "train.store"),
)
SERVING = (*BASE, "serving.images", "serving.model")
FETCHING = Path("train/evaluate/predict.py")
BEFORE_FIT = ("train.photos", "train.networks", "train.runs")
AFTER_FIT = (*BEFORE_FIT, "train.fit", "train.evaluate")

# Room -> the rooms of this project that it may import.
MAY_IMPORT = {
    "serving.errors": (),
    "serving.deferred": (),
    "serving.settings": ("serving.errors",),
    **dict.fromkeys(WORK, BASE),
    "serving.http": (*BASE, *WORK),
    "serving.answers": (*BASE, "serving.images", "serving.model", "serving.http"),
    "serving.telemetry": (*BASE, "serving.http"),
    "serving.keep": (*BASE, "serving.fetch", "serving.images"),
    "serving.predict": (*BASE, *WORK, *HTTP, "serving.keep"),
    "serving.app": (*BASE, *WORK, *HTTP, "serving.telemetry", "serving.keep", "serving.predict"),
    "lambda_function": ("serving.settings", "serving.model", "serving.fetch", "serving.app"),
    "bulk.handler": (*BASE, *WORK, *HTTP, "serving.telemetry", "serving.predict"),
    **dict.fromkeys(("bulk.jobs", "bulk.sources"), ()),
    "bulk.bill": ("bulk.jobs", "ops", "serving.settings"),
    "bulk.collect": ("bulk.jobs",),
    "bulk.runs": ("bulk.bill", "bulk.jobs"),
    "bulk.__main__": (
        *(f"bulk.{n}" for n in ("bill", "collect", "jobs", "runs", "sources")),
        "ops",
    ),
    **dict.fromkeys(TRAIN_BASE[1:], TRAIN_BASE),
    "train.__main__": (*TRAIN_BASE, "serving.errors"),
    "train.photos": (*TRAIN_BASE, *SERVING),
    "train.networks": (*TRAIN_BASE, *SERVING, "train.photos"),
    "train.runs": (*TRAIN_BASE, *SERVING, "train.photos", "train.networks"),
    "train.fit": (*TRAIN_BASE, *SERVING, *BEFORE_FIT),
    "train.evaluate": (*TRAIN_BASE, *SERVING, *BEFORE_FIT, "serving.fetch"),
    "train.sweep": (*TRAIN_BASE, *SERVING, *AFTER_FIT),
    "train.export": (*TRAIN_BASE, *SERVING, *AFTER_FIT),
    "train.recipes": (*TRAIN_BASE, *SERVING, *AFTER_FIT, "train.sweep", "train.export"),
}
OURS = (
    "serving",
    "train",
    "bulk",
    "local",
    "ops",
    "samples",
    "benchmarks",
    "tests",
    "lambda_function",
)


def room_of(module: str) -> str:
    """`serving.http.events` -> `serving.http`; a module of another package is its package's."""
    package, *rest = module.split(".")
    return f"{package}.{rest[0]}" if package in ("serving", "train", "bulk") and rest else package


def files_of(room: str) -> list[Path]:
    path = ROOT / room.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imported(path: Path) -> Iterator[str]:
    """Each module of this project that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; write it in full"
            # `from serving import errors` names a module, too.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in OURS)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room):
    allowed = MAY_IMPORT[room]
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}: {room} may import only {allowed}"
        for path in files_of(room)
        for module in imported(path)
        if room_of(module) not in (room, *allowed)
    ]
    assert wrong == []


def test_in_train_only_predict_fetches():
    fetching = {
        path.relative_to(ROOT)
        for path in (ROOT / "train").rglob("*.py")
        if any(room_of(module) == "serving.fetch" for module in imported(path))
    }
    assert fetching == {FETCHING}


@pytest.mark.parametrize(
    ("package", "elsewhere"),
    [("serving", {"lambda_function"}), ("train", set()), ("bulk", set())],
)
def test_every_module_is_in_a_room(package, elsewhere):
    rooms = {
        room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for path in (ROOT / package).rglob("*.py")
    }
    listed = {room for room in MAY_IMPORT if room.split(".")[0] in {package, *elsewhere}}
    assert rooms - {f"{package}.__init__"} == listed - elsewhere


def environment_reads(path: Path) -> list[str]:
    """Each use of os.environ or os.getenv in a file, as it is written, however it was imported."""
    text = path.read_text(encoding="utf-8")
    wanted = {"environ", "environb", "getenv", "getenvb"}
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Attribute) and node.attr in wanted)
        or (isinstance(node, ast.Name) and node.id in wanted and isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.alias) and node.name in wanted)
    ]


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        # Settings are given the environment as a mapping.
        ("serving", {"serving/__init__.py": ["os.environ"]}),  # sets a variable of ONNX Runtime
        ("train", {"train/fit/machine.py": ["os.environ"]}),  # CXX, which torch reads itself
    ],
)
def test_only_the_entry_reads_the_environment(package, allowed):
    found = {
        path.relative_to(ROOT).as_posix(): reads
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "settings.py" and (reads := environment_reads(path))
    }
    assert found == allowed
