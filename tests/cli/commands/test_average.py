import numpy as np

from tinygrad_gpt.cli import main
from tinygrad_gpt.runs.saved_model import load_model


def test_a_mean_is_written_and_classifies(models, tmp_path, capsys):
    model, out = str(models / "classifier.h5"), tmp_path / "mean"
    assert main(["average", model, model, "--out", str(out)]) == 0
    assert capsys.readouterr() == (f"Written to {out / 'model.h5'}: the mean of 2 models\n", "")
    expected = load_model(model).model.arrays()
    for name, array in load_model(out).model.arrays().items():
        np.testing.assert_array_equal(array, expected[name])
    assert main(["classify", "--model", str(out), "ice ski cold"]) == 0


def test_what_does_not_fit_is_refused_in_one_line(models, tmp_path, capsys):
    pair = [str(models / "classifier.h5"), str(models / "language.h5")]
    assert main(["average", *pair, "--out", str(tmp_path / "mean")]) == 2
    assert capsys.readouterr().err == (
        f"error: cannot average ({pair[1]}): it has other sizes than {pair[0]}; give models that were finetuned from "
        "one base on the same classes\n")
    assert not (tmp_path / "mean").exists()


def test_a_folder_with_a_model_is_kept(models, tmp_path, capsys):
    model, out = str(models / "classifier.h5"), str(tmp_path / "mean")
    assert main(["average", model, model, "--out", out]) == 0
    before = (tmp_path / "mean" / "model.h5").read_bytes()
    assert main(["average", model, model, "--out", out]) == 2
    assert "a run or a model is already there" in capsys.readouterr().err
    assert (tmp_path / "mean" / "model.h5").read_bytes() == before


def test_one_of_the_models_is_not_written_over(models, tmp_path, capsys):
    out = tmp_path / "one"
    assert main(["average", *[str(models / "classifier.h5")] * 2, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["average", str(out), str(models / "classifier.h5"), "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"error: cannot write ({out / 'model.h5'}): it is the file of MODEL; name another folder\n")
