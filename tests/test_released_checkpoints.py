"""Every released checkpoint, whatever discovery finds in model_cards/: it is what it says, as is the README."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hubmodels.families import find_code
from hubmodels.publishing import check_release, compose_release, verify
from hubmodels.recipe import Recipe

ROOT = Path(__file__).parent.parent
RELEASES = sorted(path.parent for path in (ROOT / "model_cards").glob("*/metrics.json"))


def stated(release: Path) -> dict:
    return json.loads((release / "metrics.json").read_text(encoding="utf-8"))


def test_the_first_two_checkpoints_are_there_and_as_good_as_promised():
    accuracies = {path.name: stated(path)["results"]["metrics"].get("accuracy", {}).get("value") for path in RELEASES}
    assert accuracies["mlp-fashion-mnist"] >= 0.905
    assert accuracies["cnn-fashion-mnist"] >= 0.945
    assert stated(ROOT / "model_cards/cnn-fashion-mnist")["num_parameters"] < 1_000_000


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
class TestRelease:
    def test_it_is_fit_to_be_published_with_the_code_of_this_checkout(self, release, tmp_path):
        composed = compose_release(release, tmp_path / release.name)
        verification = check_release(composed, max_bytes=8 * 1024**2)
        assert verification.foreign_code == verification.absent_code == []
        assert verification.num_parameters == stated(release)["num_parameters"]

    def test_what_is_published_is_the_folder_to_the_byte_and_the_installed_code(self, release, tmp_path):
        composed = compose_release(release, tmp_path / release.name)
        code = {path.name for path in composed.glob("*.py")}
        assert all((composed / name).read_bytes() == find_code(name).read_bytes() for name in code)
        others = {path.relative_to(release) for path in release.rglob("*") if path.is_file()}
        composed_files = {path.relative_to(composed) for path in composed.rglob("*") if path.is_file()}
        assert composed_files - others == {Path(name) for name in code}
        changed = {path for path in others if (composed / path).read_bytes() != (release / path).read_bytes()}
        if changed:  # code that was edited since the release was last measured: its checksums, and nothing else
            assert changed == {Path("metrics.json")}
            before, after = stated(release), stated(composed)
            for metrics in (before, after):
                listed = metrics["checksums"]["files"]
                metrics["checksums"]["files"] = {name: listed[name] for name in listed if name not in code}
            assert after == before

    def test_it_verifies_where_it_lies_and_holds_no_code(self, release):
        verification = verify(release)
        assert verification.absent_code
        assert not list(release.glob("*.py"))

    def test_its_card_states_the_numbers_of_its_metrics(self, release):
        card = ModelCard.load(release / "README.md")
        metrics = stated(release)["results"]["metrics"]
        assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
            name: entry["value"] for name, entry in metrics.items() if entry["value"] is not None
        }
        assert card.data.library_name == "transformers"
        assert card.data.pipeline_tag == Recipe.load(release / "recipe.yaml").task


def test_the_readme_table_is_what_the_metrics_say():
    subprocess.run([sys.executable, ROOT / "scripts/results.py", "--check"], check=True)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for release in RELEASES:  # each has its line, and the line its numbers
        results = stated(release)["results"]
        line = next(line for line in readme.splitlines() if f"| `{release.name}`<br>" in line)
        values = [float(found.replace(",", "")) for found in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", line)]
        wanted = results["metrics"][results["main_metric"]]
        for value in (wanted["value"], wanted["low"], wanted["high"]):
            rounded = 0.00005 if abs(value) < 10 else 0.005 if abs(value) < 1000 else 0.5
            assert any(abs(found - abs(value)) <= 1.001 * rounded for found in values), release.name
