"""The definitions page is what the registry says."""

from pathlib import Path

from geomprobe.metrics import REGISTRY, definitions
from geomprobe.metrics.page import definitions_page


def test_page_is_up_to_date():
    page = Path(__file__).parents[2] / "docs" / "definitions.md"
    assert page.read_text(encoding="utf-8") == definitions_page(), (
        "python -m geomprobe.metrics.page > docs/definitions.md"
    )


def test_every_definition_is_on_it():
    text = definitions_page()
    for name, metric in REGISTRY.items():
        assert f"### {name}" in text
        for definition in metric.variant_notes:
            assert f"`{name}:{definition}`" in text


def test_definitions_are_json_ready():
    import json

    entries = definitions(["effective_rank", "not a metric"])
    assert set(entries) == {"effective_rank"}
    assert "ssrlib" in entries["effective_rank"]["definitions"]
    json.dumps(definitions(), allow_nan=False)
