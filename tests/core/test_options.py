"""The command line: precedence, and errors that point at the mistake."""

import json

import pytest

from duoreid.backends.torch.runtime import RuntimeConfig
from duoreid.core.commands import options
from duoreid.core.commands.foreign_options import ELSEWHERE, hint
from duoreid.core.commands.parsing import Parser
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import METHODS
from duoreid.core.settings.config import as_dict
from duoreid.core.settings.presets import presets


def parse(*argv):
    return options.parse(argv, "train", RuntimeConfig, presets())


def test_no_arguments_is_the_synthetic_mmt():
    config, device = parse()
    assert (config.method, config.preset) == ("mmt", "synthetic")
    assert config == presets()["synthetic"]
    assert device == RuntimeConfig()


def test_every_field_is_an_option():
    config, device = parse(
        "baseline", "--source", "x", "--arch", "resnet18", "--pretrain-epochs", "3", "--epochs", "5", "--no-stem-relu",
        "--pretrain-milestones", "1", "2", "--clusters", "7", "--seed", "9", "--device", "cpu",
        "--precision", "float64",
    )  # fmt: skip
    assert (config.method, config.data.source, config.network.arch) == ("baseline", "x", "resnet18")
    assert (config.pretrain.epochs, config.adapt.epochs, config.pretrain.milestones) == (3, 5, (1, 2))
    assert (config.network.stem_relu, config.adapt.clusters, config.run.seed) == (False, 7, 9)
    assert (device.device, device.precision) == ("cpu", "float64")


def test_preset_then_file_then_options(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"adapt": {"epochs": 3, "clusters": 11}}))
    config, _ = parse("--preset", "mmt-resnet50-duke-market", "--config", str(file), "--clusters", "12")
    assert (config.adapt.epochs, config.adapt.clusters, config.adapt.iterations) == (3, 12, 400)


def test_saved_settings_read_back_as_they_were(tmp_path):
    config, _ = parse("--preset", "mmt-ibn-market-msmt17", "--rate", "0.001")
    (tmp_path / "config.json").write_text(json.dumps(as_dict(config)))
    again, _ = parse("--config", str(tmp_path / "config.json"))
    assert again == config


@pytest.mark.parametrize(
    ("argv", "needle"),
    [
        (["--epoch", "3"], "--epochs"),
        (["--preset", "mmt-resnet50-duke-markt"], "mmt-resnet50-duke-market"),
        (["mnt"], "mmt"),
        (["--arch", "resnet5"], "resnet50"),
        (["--epochs", "0"], "at least 1"),
        (["--rate", "0"], "above 0"),
        (["--epochs", "many"], "--epochs"),
        (["--identities", "1"], "identities"),
        (["--rate", "inf"], "finite"),
        (["--flip", "1.5"], "at most 1"),
        (["--smoothing", "2"], "at most 1"),
        (["--ema-limit", "1.1"], "at most 1"),
        (["--eps-share", "5"], "at most 1"),
        (["--threads", "999999999"], "at most 1024"),
        (["--config", "nowhere.json"], "nowhere.json"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(argv, needle):
    with pytest.raises(UserError, match=needle.replace("--", "-?-?")):
        parse(*argv)


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        ('{"adapt": {"epoch": 3}}', "adapt.epochs"),
        ('{"adapt": {"epochs": "3"}}', "must be int"),
        ('{"adapt": 3}', "object"),
        ('{"adapt": {"rate": NaN}}', "above 0"),
        ('{"adapt": {"rate": Infinity}}', "finite"),
        ('{"adapt": {"rate": null}}', "must be float"),
        ('{"run": {"seed": true}}', "must be int"),
        ('{"pretrain": {"milestones": ["3"]}}', "list of whole numbers"),
        ('{"pretrain": {"milestones": 3}}', "must be tuple"),
        ('{"method": "mtm"}', "mmt"),
        ("[1]", "object"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_settings_file_is_named(tmp_path, content, needle):
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(UserError, match=needle):
        parse("--config", str(file))


def test_the_published_recipes_are_the_papers():
    config = presets()["mmt-resnet50-market-duke"]
    assert (config.data.height, config.data.width, config.network.batch_norm_group) == (256, 128, 16)
    assert not config.network.stem_relu
    assert presets()["mmt-ibn-market-duke"].network.stem_relu
    assert (config.pretrain.epochs, config.pretrain.iterations, config.pretrain.milestones) == (80, 100, (40, 70))
    assert (config.adapt.epochs, config.adapt.iterations, config.adapt.clusters) == (40, 400, 700)
    assert (config.adapt.hard_ce, config.adapt.hard_triplet) == pytest.approx((0.5, 0.2))
    assert (config.adapt.soft_ce, config.adapt.soft_triplet) == pytest.approx((0.5, 0.8))
    assert presets()["mmt-resnet50-duke-msmt17"].adapt.eps_share == pytest.approx(1.6e-3)
    assert (config.adapt.k1, config.adapt.jaccard_scale, config.pretrain.schedule_ahead) == (20, "farthest", 1)


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        ('{"method": ["mmt"]}', "unknown method"),
        ('{"backend": "torch"}', "backend.runtime"),
        ('{"backend": {"runtime": 3}}', "backend.runtime"),
        ('{"name": "bert"}', "unknown setting 'name'"),
        ("[]", "must hold a JSON object"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_folder_of_another_program_is_not_resumed(tmp_path, content, needle):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=needle):
        parse("--resume", str(tmp_path))


@pytest.mark.parametrize(
    ("argv", "ours"),
    [
        (["mvd", "--loss_func", "id"], "--objective"),
        (["mvd", "--loss-func=id"], "--objective"),
        (["mvd", "--lr", "0.1"], "--rate"),
        (["mvd", "--sysu_mode", "all"], "--search"),
        (["mvd", "--pretrain", "resnet50.ckpt"], "--weights"),
        (["mmt", "--num-clusters", "500"], "--clusters"),
        (["mmt", "--soft-tri-weight", "0.8"], "--hard-triplet 1-W"),
    ],
)
def test_options_of_the_public_codes_point_to_ours(argv, ours):
    with pytest.raises(UserError, match=f"is an option of .*public code.*; here it is .*{ours}"):
        parse(*argv)


def test_every_command_points_from_the_options_of_the_public_codes():
    parser = Parser(prog="duoreid evaluate")
    with pytest.raises(UserError, match="--sysu_mode is an option of MVD's public codes; here it is --search"):
        parser.parse_args(["--sysu_mode", "all"])
    assert hint("--epochz") == ""


def test_what_an_option_of_a_public_code_points_to_is_there():
    known = {"--output", "--mode"} | {f"--{item}" for item in vars(RuntimeConfig())}
    known = {name.replace("_", "-") for name in known} | set().union(*map(options.flags_of, METHODS.values()))
    known |= {"--trial"}  # of `evaluate`
    for words in (ours for _, ours in ELSEWHERE.values()):
        named = [word.strip(",.;:()") for word in words.split() if word.strip("(").startswith("--")]
        assert named or words.startswith("nothing: ")
        assert set(named) <= known, words
