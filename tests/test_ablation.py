"""The ablation command: its rows, its statistics, and that finished runs are kept."""

import json

import numpy as np
import pytest

from duoreid.backends.torch.runtime import RuntimeConfig
from duoreid.benchmarks import ablation, branches
from duoreid.benchmarks.ablation_rows import ABLATIONS, MMT, MVD, MVD_PUBLIC
from duoreid.core.commands.options import parse
from duoreid.core.errors import UserError
from duoreid.core.settings.presets import presets
from duoreid.core.settings.published import MMT_ABLATION
from duoreid.datasets.synthetic import generate
from tests.conformance import examples_mvd
from tests.conftest import probe_of
from tests.runs import small_data, train

SIZE = ["--size", "tiny", "--height", "32", "--width", "16", "--epochs", "1", "--iterations", "2", "--threads", "1"]
BATCH = ["--identities", "4", "--images", "2"]


def config(name, row):
    method = row.method or ABLATIONS[name].method
    return parse([method, *ABLATIONS[name].common, *row.options], "train", RuntimeConfig, presets())[0]


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_row_is_a_recipe_of_its_own(name):
    made = {row.name: config(name, row) for row in ABLATIONS[name].rows if row.name != ABLATIONS[name].source}
    assert len(set(map(str, made.values()))) == len(made)
    assert ABLATIONS[name].against in made


def test_the_scaled_public_recipe_takes_what_the_preset_takes():
    scaled, published = config("mvd-public", MVD_PUBLIC.by_name["+ CML + VSD + VCD"]), presets()["mvd-regdb"]
    losses = ("objective", "distillation", "cml", "vsd", "vcd", "vml")
    schedule = ("decay", "gamma", "schedule_ahead")
    networks = ("grey", "grey_form", "shared_norm", "mixed_groups", "biases", "channel_attention")
    for key in (*losses, *schedule, *networks):
        assert getattr(scaled.mvd, key) == getattr(published.mvd, key), key
    assert scaled.network.batch_norm_group == published.network.batch_norm_group


def test_terms_come_one_after_the_other():
    weights = {row.name: config("mvd", row).mvd for row in MVD.rows}
    assert [weights[name].objective for name in ("id", "id+tri", "+ VSD")] == ["id", "id+tri", "full"]
    on = {name: [term for term in ("vsd", "vcd", "vml", "cml") if getattr(one, term)] for name, one in weights.items()}
    assert on["+ VSD"] == ["vsd"]
    assert on["+ VSD + VCD"] == ["vsd", "vcd"]
    assert on["+ VSD + VCD + VML"] == ["vsd", "vcd", "vml"]
    assert on["+ VSD + VCD + VML + CML"] == ["vsd", "vcd", "vml", "cml"]
    reference = weights["reference distillation"]
    assert (reference.distillation, reference.cml, reference.vsd, reference.vcd, reference.vml) == (
        "reference", 8, 2, 2, 0,
    )  # fmt: skip


def test_what_is_left_out_gives_its_weight_to_the_other_form():
    for row in MMT.rows:
        adapt = config("mmt", row).adapt
        name = row.name
        if row.method == "baseline":
            assert not hasattr(adapt, "hard_ce"), "hard losses at weight 1, and no others"
            continue
        assert adapt.hard_ce + adapt.soft_ce == adapt.hard_triplet + adapt.soft_triplet == 1
        assert (adapt.hard_ce == 0) == ("without hard CE" in name)
        hard = name in ("without both soft losses", "two networks, hard labels")
        assert (adapt.ema_limit == 0) == (name == "two networks, hard labels")
        assert (adapt.soft_ce == 0) == (hard or name == "without soft CE")
        assert (adapt.hard_triplet == 0) == ("hard triplet" in name)
        assert (adapt.soft_triplet == 0) == (hard or name == "without soft triplet")
    assert {row.name for row in MMT.rows if row.published} == set(MMT_ABLATION)


def runs(*values):
    return [{"mean": {"mAP": value, "rank-1": 2 * value}} for value in values]


def test_differences_are_taken_seed_by_seed():
    """Rows that rise and fall together differ clearly, though each of them varies more than they differ."""
    comparison = ablation.compare(
        {"full": runs(10, 20, 30), "close": runs(11, 21, 31.5), "noisy": runs(30, 5, 27)}, "full"
    )
    close, noisy = comparison["close"]["mean mAP"], comparison["noisy"]["mean mAP"]
    assert close["spread"] == pytest.approx(10.2511, abs=1e-4)
    assert close["difference"] == pytest.approx(3.5 / 3)
    assert close["difference_spread"] == pytest.approx(0.288675, abs=1e-6)
    assert close["found"] is True
    assert noisy["difference"] == pytest.approx(2 / 3)
    assert noisy["found"] is False
    assert "difference" not in comparison["full"]["mean mAP"]
    assert comparison["close"]["mean rank-1"]["difference"] == pytest.approx(7 / 3)


def test_one_seed_has_no_spread():
    comparison = ablation.compare({"full": runs(10), "baseline": runs(13)}, "full")
    assert comparison["baseline"]["mean mAP"]["found"] is None
    assert comparison["baseline"]["mean mAP"]["spread"] is None
    shown = ablation.text(MMT, comparison)
    assert "+3.0" in shown
    assert "one seed" in shown


def test_published_differences_stand_beside_ours():
    shown = ablation.text(MMT, ablation.compare({"full": runs(50), "without hard CE": runs(20)}, "full"))
    line = next(line for line in shown.splitlines() if line.startswith("without hard CE"))
    assert "-30.0" in line
    assert "-38.2 / -37.3" in line


@pytest.mark.long
def test_mvd_is_run_measured_and_kept(tmp_path, capsys, monkeypatch):
    generate("synthetic-regdb", tmp_path / "data", size="tiny", progress=False)
    argv = ["mvd", "--seeds", "1", "--rows", "id", "id+tri", "--runs", str(tmp_path), *SIZE, *BATCH]
    argv += ["--data", str(tmp_path / "data"), "--trials", "1", "--representation", "16"]
    assert ablation.main(argv) == 0
    shown = capsys.readouterr().out
    assert "thermal to visible mAP" in shown
    content = json.loads((tmp_path / "ablation.json").read_text())
    row = content["rows"]["id"]
    both = [row[f"{name} mAP"]["mean"] for name in ("visible to thermal", "thermal to visible")]
    assert row["mean mAP"]["mean"] == pytest.approx(sum(both) / 2)
    assert (tmp_path / "ablation.png").stat().st_size > 1000
    monkeypatch.setattr(ablation, "process", None)  # nothing may be run again
    assert ablation.main(argv) == 0
    assert json.loads((tmp_path / "ablation.json").read_text())["rows"] == content["rows"]
    assert ablation.main([*argv, "--iterations", "1"]) == 2
    assert "choose another --runs" in capsys.readouterr().err


def test_rows_of_mmt_share_stage_1(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ablation, "process", lambda command, _: train(command[2].split(".")[1], *command[3:]))
    small = [*SIZE, *BATCH, "--clusters", "6", "--data", str(small_data()), "--pretrain-epochs", "1"]
    small += ["--pretrain-iterations", "2", "--pretrain-identities", "4", "--pretrain-images", "2"]
    argv = ["mmt", "--seeds", "1", "--rows", "source only", "baseline", "--runs", str(tmp_path)]
    assert ablation.main([*argv, *small]) == 0
    first = json.loads((tmp_path / "seed-1" / "stage-1" / "summary.json").read_text())
    baseline = json.loads((tmp_path / "seed-1" / "baseline" / "summary.json").read_text())
    assert baseline["rows"][0]["mean_ap"] == first["rows"][0]["mean_ap"]
    rows = json.loads((tmp_path / "ablation.json").read_text())["rows"]
    assert rows["source only"]["mean mAP"]["mean"] == pytest.approx(100 * first["source_only_mean_ap"])
    assert rows["baseline"]["mean mAP"]["mean"] == pytest.approx(100 * baseline["rows"][-1]["mean_ap"])
    assert "source only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "needles"),
    [
        (["--rows", "id-tri"], ["id-tri", "id+tri"]),
        (["--seeds", "0"], ["--seeds", "at least 1"]),
        (["--seed", "3"], ["--seed is chosen"]),
        (["--objective", "ide", "--seeds", "1"], ["status 2", "--objective", "ide"]),
    ],
    ids=["row", "seeds", "seed", "run"],
)
def test_mistakes_end_in_one_message(argv, needles, tmp_path, capsys):
    assert ablation.main(["mvd", "--runs", str(tmp_path), *argv]) == 2
    message = capsys.readouterr().err
    for needle in needles:
        assert needle in message


def test_an_interrupted_run_is_resumed(tmp_path, monkeypatch):
    words = []

    def fake(command, log):
        log.write_text("what went wrong")
        words.append(command[3:])
        (tmp_path / "run" / "config.json").write_text("{}")
        if len(words) > 1:
            (tmp_path / "run" / "summary.json").write_text("{}")
        return int(len(words) == 1)

    monkeypatch.setattr(ablation, "process", fake)
    with pytest.raises(UserError, match=r"(?s)ended with status 1.*what went wrong"):
        ablation.train("torch", "mvd", ["--epochs", "1"], tmp_path / "run")
    assert ablation.train("torch", "mvd", ["--epochs", "1"], tmp_path / "run") == {}
    assert words == [["mvd", "--epochs", "1", "--output", str(tmp_path / "run")], ["--resume", str(tmp_path / "run")]]


def test_the_four_observations_together_are_the_feature_of_the_test():
    config = examples_mvd.FULL
    learner = probe_of("torch").make_learner(config)
    learner.import_state(examples_mvd.example_state(config))
    images = np.concatenate(examples_mvd.example_batch(config, 0).images)
    features = branches.features_of(config, learner.export_state(), [images[:3], images[3:]])
    np.testing.assert_allclose(features["v, all"], learner.embed([images])[0], atol=1e-6)
    assert set(features) == {f"{kind}, {name}" for kind in "vz" for name in (*branches.VIEWS, "all")}
    assert all(np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5) for rows in features.values())
    assert features["z, shared, grey"].shape == (len(images), config.section.representation)
