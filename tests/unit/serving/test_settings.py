"""Settings come from the environment; a bad value stops the function and names its variable."""

from dataclasses import fields
from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.settings import Settings, threads_for_memory

DOCUMENTED = Path(__file__).parents[3] / "docs" / "settings.md"


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_env({}) == Settings(inference_threads=1)


def test_every_setting_is_read_from_its_variable():
    environment = {
        "MODEL_PATH": "/opt/m.onnx",
        "BODY_MAX_BYTES": "10",
        "FETCH_SCHEMES": "HTTPS",
        "FETCH_PORTS": "443, 8443",
        "FETCH_ALLOWED_HOSTS": "Photos.example,b.example",
        "FETCH_MAX_BYTES": "11",
        "FETCH_TIMEOUT_S": "1.5",
        "IMAGE_MAX_PIXELS": "12",
        "BATCH_MAX_ITEMS": "13",
        "TOP_K_MAX": "14",
        "CORS_ORIGINS": "https://app.example",
        "INFERENCE_THREADS": "3",
        "LABEL_METRICS": "false",
        "KEEP_UNSURE": "s3://kept/unsure/photos",
        "KEEP_SHARE": "0.25",
        "KEEP_TIMEOUT_S": "0.5",
    }
    assert set(environment) == {setting.name.upper() for setting in fields(Settings)}
    assert Settings.from_env(environment) == Settings(
        model_path=Path("/opt/m.onnx"),
        body_max_bytes=10,
        fetch_schemes=frozenset({"https"}),
        fetch_ports=frozenset({443, 8443}),
        fetch_allowed_hosts=frozenset({"photos.example", "b.example"}),
        fetch_max_bytes=11,
        fetch_timeout_s=1.5,
        image_max_pixels=12,
        batch_max_items=13,
        top_k_max=14,
        cors_origins=frozenset({"https://app.example"}),
        inference_threads=3,
        label_metrics=False,
        keep_unsure="s3://kept/unsure/photos",
        keep_share=0.25,
        keep_timeout_s=0.5,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MODEL_PATH", ""),
        ("BODY_MAX_BYTES", "0"),
        ("BODY_MAX_BYTES", "6000001"),
        ("BODY_MAX_BYTES", "4.5 MB"),
        ("BODY_MAX_BYTES", ""),
        ("FETCH_SCHEMES", "http,file"),
        ("FETCH_PORTS", "0"),
        ("FETCH_PORTS", "65536"),
        ("FETCH_PORTS", "eighty"),
        ("FETCH_PORTS", " , "),
        ("FETCH_SCHEMES", ","),
        ("FETCH_ALLOWED_HOSTS", ","),
        ("FETCH_ALLOWED_HOSTS", "https://photos.example"),
        ("FETCH_ALLOWED_HOSTS", "*.photos.example"),
        ("FETCH_ALLOWED_HOSTS", "photos.example:443"),
        ("FETCH_ALLOWED_HOSTS", "photos.example,other.example."),
        ("FETCH_ALLOWED_HOSTS", "[::1]"),
        ("FETCH_MAX_BYTES", "-1"),
        ("FETCH_TIMEOUT_S", "nan"),
        ("FETCH_TIMEOUT_S", "inf"),
        ("FETCH_TIMEOUT_S", "0"),
        ("IMAGE_MAX_PIXELS", "1e9"),
        ("BATCH_MAX_ITEMS", "0"),
        ("TOP_K_MAX", "0"),
        ("CORS_ORIGINS", ","),
        ("CORS_ORIGINS", "example.com"),
        ("CORS_ORIGINS", "https://example.com/path"),
        ("INFERENCE_THREADS", "65"),
        ("LABEL_METRICS", "no"),
        ("KEEP_UNSURE", "kept"),
        ("KEEP_UNSURE", "https://kept.s3.amazonaws.com/unsure"),
        ("KEEP_UNSURE", "s3://kept/unsure/"),
        ("KEEP_UNSURE", "s3://kept/*"),
        ("KEEP_UNSURE", "s3://kept/../other"),
        ("KEEP_SHARE", "1.1"),
        ("KEEP_SHARE", "nan"),
        ("KEEP_SHARE", ""),
        ("KEEP_TIMEOUT_S", "0"),
    ],
)
def test_a_bad_value_stops_the_function_and_names_its_variable(variable, value):
    with pytest.raises(SettingsError, match=variable):
        Settings.from_env({variable: value})


def test_hosts_are_names_and_addresses_as_urls_spell_them():
    text = "Photos.example, xn--bcher-kva.example,localhost,192.0.2.1,2001:db8::1"
    hosts = Settings.from_env({"FETCH_ALLOWED_HOSTS": text}).fetch_allowed_hosts
    assert hosts == frozenset(text.lower().replace(" ", "").split(","))


def test_an_empty_list_is_a_value():
    settings = Settings.from_env({"FETCH_PORTS": "", "CORS_ORIGINS": "", "FETCH_SCHEMES": ""})
    assert not settings.fetch_ports
    assert not settings.cors_origins
    assert not settings.fetch_schemes


@pytest.mark.parametrize(
    ("memory_mb", "threads"),
    [("", 1), ("128", 1), ("1769", 1), ("3537", 1), ("3538", 2), ("10240", 5), ("much", 1)],
)
def test_threads_follow_the_functions_memory(memory_mb, threads):
    assert threads_for_memory(memory_mb) == threads
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory_mb}
    assert Settings.from_env(environment).inference_threads == threads


def test_threads_that_are_set_take_precedence_over_the_memory():
    environment = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "10240", "INFERENCE_THREADS": "2"}
    assert Settings.from_env(environment).inference_threads == 2


def shown(value) -> str:
    if isinstance(value, frozenset):
        return ",".join(str(item) for item in sorted(value)) or "(none)"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value) or "(none)"


def test_the_documented_table_equals_the_class():
    cells = [
        (f"`{s.name.upper()}`", shown(s.default), s.metadata["unit"], s.metadata["about"])
        for s in fields(Settings)
    ]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    lines = DOCUMENTED.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `")] == rows
