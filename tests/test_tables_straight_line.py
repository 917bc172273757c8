"""From a table to a model repository and back: training, files of predictions, and loading where hubmodels is not."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from transformers import pipeline

import hubmodels  # noqa: F401  makes transformers know the pipeline


@pytest.fixture(scope="module")
def release(run_cli, tmp_path_factory):
    """A small ensemble trained on scikit-learn's diabetes by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "diabetes"
    words = "train --family mlp --task tabular-regression --dataset sklearn:diabetes --hidden_sizes 32 --num_ensemble 4"
    options = "--num_train_epochs 8 --per_device_train_batch_size 32 --no_baseline --quantiles 0.05 0.5 0.95"
    code, _, err = run_cli(*words.split(), *options.split(), "--output_dir", folder)
    assert code == 0, err
    return folder / "release"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The whole table with an id, as a file."""
    frame = load_diabetes(as_frame=True).frame.drop(columns="target")
    frame.insert(0, "patient", [f"p{index}" for index in range(len(frame))])
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_release_holds_the_table_s_files_and_figures(release) -> None:
    names = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert {
        "processor_config.json", "processing_table.py", "processing_table_columns.py", "modeling_mlp.py",
        "modeling_mlp_tables.py", "configuration_mlp.py", "figures/residuals.png", "figures/permutation_importance.png",
        "figures/partial_dependence.png",
    } <= names  # fmt: skip


def test_evaluate_finds_the_stated_metrics_again(release, run_cli) -> None:
    code, out, err = run_cli("evaluate", release, "--json")
    assert code == 0, err
    stated = json.loads((release / "metrics.json").read_text())["results"]["metrics"]
    assert json.loads(out)["metrics"]["rmse"] == pytest.approx(stated["rmse"], rel=1e-6)
    found = json.loads(out)["metrics"]
    assert found["r2"]["value"] > 0.2  # the mean has 0
    for name in ("coverage", "quantile_loss"):
        assert found[name] == pytest.approx(stated[name], rel=1e-6)
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert 0.3 < found["coverage"]["value"] < 1  # 0.9 after more than these 80 steps


@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_a_file_of_predictions_has_the_ids_in_order_and_what_the_pipeline_answers(
    release, rows, run_cli, tmp_path, output
) -> None:
    code, _, err = run_cli("predict", release, rows, "--output", tmp_path / output, "--batch_size", "100")
    assert code == 0, err
    found = pd.read_csv(tmp_path / output) if output.endswith("csv") else pd.read_parquet(tmp_path / output)
    assert list(found) == ["patient", "prediction", "low", "high", "uncertainty"]
    assert found["patient"].tolist() == pd.read_csv(rows)["patient"].tolist()
    answers = pipeline("tabular-regression", model=str(release))(str(rows))
    for name in ("prediction", "low", "high", "uncertainty"):
        np.testing.assert_allclose(found[name], [answer[name] for answer in answers], rtol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [output]


def test_two_processes_write_what_one_writes(release, rows, run_cli, tmp_path) -> None:
    code = (
        "from hubmodels import answering, processes, use; import sys; answering.ROWS_PER_TABLE = 50; "
        "use.predict_file(*sys.argv[1:4], keep=['patient']); processes.leave_processes(0)"
    )
    paths = [str(release), str(rows)]
    script = tmp_path / "script.py"
    script.write_text(code)
    subprocess.run([sys.executable, script, *paths, tmp_path / "one.csv"], check=True, capture_output=True)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script, *paths]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *words, tmp_path / "two.csv"], check=True, capture_output=True, env=env)
    one, two = pd.read_csv(tmp_path / "one.csv"), pd.read_csv(tmp_path / "two.csv")
    assert len(one) == 442
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)


def test_one_member_alone_predicts_what_the_member_of_the_ensemble_does(release, rows, run_cli, tmp_path) -> None:
    code, _, err = run_cli("predict", release, rows, "--output", tmp_path / "one.csv", "--member", "1", "--keep")
    assert code == 0, err
    found = pd.read_csv(tmp_path / "one.csv")
    assert list(found) == ["prediction", "low", "high"]  # one member has no spread
    code, _, err = run_cli("predict", release, rows, "--output", tmp_path / "two.csv", "--member", "9")
    assert code == 2
    assert "0 to 3" in err


def test_transformers_alone_loads_model_and_processor_by_their_code(release, rows, tmp_path) -> None:
    code = (
        "import sys; sys.modules['hubmodels'] = None\n"
        "import pandas as pd\n"
        "from transformers import AutoModel, AutoProcessor\n"
        "folder, rows = sys.argv[1:]\n"
        "processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)\n"
        "model = AutoModel.from_pretrained(folder, trust_remote_code=True)\n"
        "outputs = model(**processor(pd.read_csv(rows), return_tensors='pt'))\n"
        "print(outputs.logits.mean().item())\n"
    )
    env = {**os.environ, "HF_MODULES_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, release, rows], capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    answers = pipeline("tabular-regression", model=str(release))(str(rows))
    mean = np.mean([answer["prediction"] for answer in answers])
    assert float(done.stdout) == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="bmi"), "missing column 'bmi'"),
        (
            lambda frame: frame.assign(bmi="heavy"),
            "row 0 (line 2) of bad.csv, column 'bmi': must hold numbers; it holds 'heavy'",
        ),
        (lambda frame: frame.head(0), "no rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused_in_one_line(release, rows, run_cli, tmp_path, change, message) -> None:
    change(pd.read_csv(rows)).to_csv(tmp_path / "bad.csv", index=False)
    code, out, err = run_cli("predict", release, tmp_path / "bad.csv", "--output", tmp_path / "out.csv")
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "out.csv").exists()


def test_verify_answers_a_program_in_json(release, run_cli) -> None:
    code, out, err = run_cli("verify", release, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["name"] == str(release)
    assert answer["num_parameters"] == json.loads((release / "metrics.json").read_text())["num_parameters"]
    assert 0 <= answer["deviation"] < 1e-4


def test_a_prediction_never_overwrites_its_input(release, rows, run_cli, tmp_path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(rows.read_bytes())
    code, _, err = run_cli("predict", release, path, "--output", tmp_path / "nowhere" / ".." / "rows.csv")
    assert code == 2
    assert "is the input" in err
    assert path.read_bytes() == rows.read_bytes()


def test_without_an_input_no_folder_is_made_for_the_output(release, run_cli, tmp_path) -> None:
    code, _, err = run_cli("predict", release, tmp_path / "rows.csv", "--output", tmp_path / "new" / "out.csv")
    assert code == 2
    assert "there is no file" in err
    assert not (tmp_path / "new").exists()
