"""Files of forecasts: what `predict` writes for series, and that longer ones are forecast from forecasts."""

import json

import numpy as np
import pandas as pd
import pytest

from hubmodels import use
from hubmodels.cli import main
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import Recipe
from hubmodels.recipes import default_recipe
from hubmodels.report import collect_notes
from hubmodels.workflow import train_and_release

TRAINING = {"max_steps": 2, "per_device_train_batch_size": 8}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A forecaster of two shops by month ends, told of a holiday; the file that it learnt from."""
    folder = tmp_path_factory.mktemp("forecasts")
    times = pd.date_range("2012-01-31", periods=90, freq="ME").strftime("%d.%m.%Y")
    frames = [
        pd.DataFrame({"shop_id": shop, "Monat": times, "sales": np.arange(90) % 12 + 9.5,
                      "holiday": ["no"] * 11 + ["yes"]
                      + ["no"] * 78})
        for shop in ("a", "b")
    ]  # fmt: skip
    pd.concat(frames)[::-1].to_csv(folder / "sales.csv", index=False)
    recipe = default_recipe("rnn", "time-series-forecasting")
    recipe.data |= {"dataset": str(folder / "sales.csv"), "context_length": 12, "prediction_length": 4}
    recipe.data |= {"target_column_names": ["sales"], "future_column_names": ["holiday"]}
    recipe.model |= {"hidden_size": 8, "embedding_size": 8}
    recipe.training |= TRAINING | {"output_dir": str(folder / "run")}
    train_and_release(Recipe(**recipe.__dict__), baseline=False)
    ahead = pd.date_range("2019-07-31", periods=9, freq="ME").strftime("%d.%m.%Y")
    pd.DataFrame({"Monat": ahead, "holiday": "no"}).to_csv(folder / "holidays.csv", index=False)
    return folder


def test_a_row_a_step_ahead_with_id_time_target_and_quantiles(release) -> None:
    where = release / "forecast.csv"
    options = {"future": str(release / "holidays.csv")}
    assert use.predict_file(str(release / "run/release"), str(release / "sales.csv"), str(where), **options) == 8
    rows = pd.read_csv(where)
    assert list(rows)[:3] == ["shop_id", "Monat", "sales"]
    assert "sales_0.9" in rows
    assert sorted(set(rows["shop_id"])) == ["a", "b"]
    assert rows["Monat"][:4].tolist() == ["2019-07-31", "2019-08-31", "2019-09-30", "2019-10-31"]


def test_a_longer_forecast_begins_as_the_short_one_and_goes_on_from_it(release) -> None:
    options = {"future": str(release / "holidays.csv")}
    folder, source = str(release / "run/release"), str(release / "sales.csv")
    short = use.predict(folder, source, **options).table.to_pandas()
    long = use.predict(folder, source, prediction_length=9, **options).table.to_pandas()
    assert len(long) == 18
    np.testing.assert_allclose(long["sales"][:4], short["sales"][:4], rtol=1e-5)
    # By hand: the short forecast below the series, forecast again.
    frame = pd.read_csv(source)
    known = short[["shop_id", "Monat", "sales"]].assign(
        Monat=pd.to_datetime(short["Monat"]).dt.strftime("%d.%m.%Y"), holiday="no"
    )
    pd.concat([frame, known]).to_csv(release / "longer.csv", index=False)
    again = use.predict(folder, str(release / "longer.csv"), **options).table.to_pandas()
    np.testing.assert_allclose(again["sales"][:4], long["sales"][4:8], rtol=1e-4)


def test_what_is_not_known_ahead_is_named(release) -> None:
    folder, source = str(release / "run/release"), str(release / "sales.csv")
    with pytest.raises(HubmodelsError, match="needs holiday for the 4 steps ahead.*--future"):
        use.predict(folder, source)
    with pytest.raises(HubmodelsError, match="9 steps, and none at 2020-04-30"):
        use.predict(folder, source, prediction_length=10, future=str(release / "holidays.csv"))


def test_a_file_of_what_is_known_that_lacks_a_column_is_named_with_its_flag(release) -> None:
    folder, source = str(release / "run" / "release"), str(release / "sales.csv")
    (release / "lacking.csv").write_text("day,other\n2026-01-01,1\n")
    with pytest.raises(HubmodelsError, match=r"^the file .*lacking.csv \(--future\) must have the columns holiday$"):
        use.predict(folder, source, future=str(release / "lacking.csv"))


def test_words_that_no_training_row_had_are_counted_and_said(release, capsys) -> None:
    folder, source = str(release / "run/release"), release / "sales.csv"
    frame = pd.read_csv(source)
    frame.loc[frame.index[:3], "holiday"] = ["maybe", "maybe", "never"]
    frame.to_csv(release / "odd.csv", index=False)
    arguments = ["predict", folder, str(release / "odd.csv"), "--future", str(release / "holidays.csv")]
    assert main(arguments) == 0
    said = "column 'holiday': 3 of 180 rows hold words that the training rows had not: 'maybe' (2), 'never' (1)"
    assert said in capsys.readouterr().err
    assert main([*arguments, "--json"]) == 0
    assert any(said in note["text"] for note in json.loads(capsys.readouterr().out)["notes"])
    with collect_notes() as notes:
        use.evaluate_release(folder, {"dataset": str(release / "odd.csv")})
    assert any(said in note.text for note in notes)
    assert main(["predict", folder, str(source), "--future", str(release / "holidays.csv")]) == 0
    assert "training rows had not" not in capsys.readouterr().err


def test_a_forecast_from_forecasts_says_that_its_quantiles_are_too_narrow(release) -> None:
    options = {"future": str(release / "holidays.csv")}
    for steps, says in ((4, False), (9, True)):
        with collect_notes() as notes:
            use.predict(str(release / "run/release"), str(release / "sales.csv"), prediction_length=steps, **options)
        assert any("steps behind the first 4 are forecast from forecasts" in note.text for note in notes) is says


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_counts_of_the_training_may_be_fractions_in_a_new_file(kind, release, tmp_path) -> None:
    counts = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=60), "sold": np.arange(60) % 7 + 2})
    counts.to_csv(tmp_path / "train.csv", index=False)
    recipe = default_recipe("rnn", "time-series-forecasting")
    recipe.data |= {"dataset": str(tmp_path / "train.csv"), "context_length": 8, "prediction_length": 2}
    recipe.model |= {"hidden_size": 4}
    recipe.training |= TRAINING | {"output_dir": str(tmp_path / "run")}
    train_and_release(recipe, baseline=False)
    new = counts.astype({"sold": float})
    new.loc[58, "sold"] = 13.9
    path = tmp_path / f"new.{kind}"
    {"csv": lambda: new.to_csv(path, index=False), "parquet": lambda: new.to_parquet(path),
     "jsonl": lambda: new.astype({"day": str}).to_json(path, orient="records", lines=True)}[kind]()  # fmt: skip
    model = str(tmp_path / "run/release")
    table = use.predict(model, str(path)).table.to_pandas()
    rounded = use.predict(model, str(tmp_path / "train.csv")).table.to_pandas()
    assert len(table) == 2
    assert not np.allclose(table["sold"], rounded["sold"], rtol=1e-6)  # the fraction is heeded
    assert use.evaluate_release(model, {"dataset": str(path)}).num_rows == 60 - 8 - 2 + 1


def test_a_long_table_of_series_is_classified_a_row_a_series(tmp_path) -> None:
    frames = [
        pd.DataFrame({"run": f"r{n}", "date": pd.date_range("2024-01-01", periods=12), "v": np.sin(np.arange(12) + n),
                      "label": "ab"[n % 2]})
        for n in range(30)
    ]  # fmt: skip
    pd.concat(frames).to_csv(tmp_path / "long.csv", index=False)
    recipe = default_recipe("rnn", "time-series-classification")
    recipe.data |= {"dataset": str(tmp_path / "long.csv")}
    recipe.model |= {"hidden_size": 8, "embedding_size": 8}
    recipe.training |= TRAINING | {"output_dir": str(tmp_path / "run")}
    train_and_release(recipe, baseline=False)
    pd.concat(frames[:7]).drop(columns="label").sample(frac=1, random_state=0).to_csv(tmp_path / "new.csv", index=False)
    table = use.predict(str(tmp_path / "run/release"), str(tmp_path / "new.csv")).table.to_pandas()
    assert sorted(table["run"]) == [f"r{n}" for n in range(7)]
    np.testing.assert_allclose(table["probability_a"] + table["probability_b"], 1, rtol=1e-5)
