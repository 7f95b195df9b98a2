"""The command `duoreid`: helps of a screen, sub-commands, settings files, completion; and settings of version 0.1."""

import json
from dataclasses import asdict, replace

import pytest

from duoreid import __version__, cli, completion
from duoreid.backends.torch.runtime import RuntimeConfig
from duoreid.core.commands import options
from duoreid.core.errors import UserError
from duoreid.core.methods.registry import METHODS, spec_of
from duoreid.core.settings.cross_modal import MVDRecipe
from duoreid.core.settings.presets import presets
from duoreid.core.settings.reading import FIRST_VERSION, current, from_dict
from duoreid.core.settings.transfer import MMTRecipe, SourceRecipe

SCREEN = 45
"""Lines of a terminal window."""


def shown(capsys, *words):
    """Return what a command prints that ends by SystemExit(0), as helps do."""
    with pytest.raises(SystemExit) as end:
        cli.main(list(words))
    assert end.value.code == 0
    return capsys.readouterr().out


def parse(*argv):
    return options.parse(argv, "duoreid train", RuntimeConfig, presets())


@pytest.mark.parametrize("method", METHODS)
def test_a_help_is_a_screen_and_help_all_is_everything(capsys, method):
    short = shown(capsys, "train", method, "--backend", "torch", "--help")
    assert len(short.splitlines()) <= SCREEN
    assert short.index("examples:") < short.index("options:")
    whole = shown(capsys, "train", method, "--backend", "torch", "--help-all")
    flags = options.flags_of(spec_of(method))
    assert not [flag for flag in flags if flag not in whole]
    hidden = [flag for flag in flags if f"{flag} " not in short]
    assert hidden
    assert "more options: --help-all" in short


@pytest.mark.parametrize(
    "command",
    sorted(set(cli.COMMANDS) - {"train"}),
)
def test_every_command_has_a_help_that_names_it(capsys, command):
    text = shown(capsys, command, "--help")
    assert f"duoreid {command}" in text
    assert len(text.splitlines()) <= SCREEN


def test_the_commands_are_listed_and_the_version_told(capsys):
    text = shown(capsys)
    assert all(f"  {name} " in text and command.about in text for name, command in cli.COMMANDS.items())
    assert shown(capsys, "--version").strip() == f"duoreid {__version__}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "--backend", "tourch"], "Did you mean 'torch'"),
        (
            ["train", "source", "--clusters", "3"],
            "--clusters means nothing to source: it is an option of baseline, mmt",
        ),
        (["train", "baseline", "--hard-ce", "0"], "--hard-ce means nothing to baseline: it is an option of mmt"),
        (["train", "mvd", "--start", "x"], "--start means nothing to mvd"),
        (["train", "mmt", "--objective", "id"], "--objective means nothing to mmt: it is an option of mvd"),
        (["train", "mmt", "--no-such-thing"], "'--no-such-thing'. `duoreid train mmt --help-all` lists all.\n"),
        (
            ["train", "source", "--source-epochs", "3"],
            "'--source-epochs'. Did you mean --pretrain-epochs or --pretrain-warmup-epochs? `duoreid train",
        ),
        (
            ["train", "source", "--epochs", "3"],
            "--epochs means nothing to source: it is an option of baseline, mmt, mvd. Here it is --pretrain-epochs.\n",
        ),
        (["train", "source", "--trials", "2"], "it is an option of mvd. Leave it out, or train mvd.\n"),
        (["evaluate", "x", "--datasett", "y"], "Instead of --datasett, did you mean --dataset, --data-seed or --data?"),
    ],
)
def test_what_is_wrong_is_told(capsys, words, message):
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err


def test_at_most_three_options_are_proposed(capsys):
    assert cli.main(["train", "mmt", "--weight-decai", "3"]) == 2
    told = capsys.readouterr().err
    assert told.count("--") <= 1 + 3 + 1  # the given one, three, --help-all
    assert "--weight-decay" in told


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_methods_and_options(capsys, shell):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("evaluate", "mvd", "--soft-ce", "--representation", "--clusters", "--save-features"):
        assert word in script, word
    assert completion.HOW.keys() >= {shell}


FILES = {
    "json": '{"adapt": {"epochs": 3, "rate": 0.001}, "pretrain": {"milestones": [1, 2]}}',
    "yaml": "adapt:\n  epochs: 3\n  rate: 0.001\npretrain:\n  milestones: [1, 2]\n",
    "yml": "adapt: {epochs: 3, rate: 0.001}\npretrain: {milestones: [1, 2]}\n",
    "toml": "[adapt]\nepochs = 3\nrate = 0.001\n[pretrain]\nmilestones = [1, 2]\n",
}


@pytest.mark.parametrize("ending", FILES)
def test_settings_in_every_form_are_the_same(tmp_path, ending):
    file = tmp_path / f"settings.{ending}"
    file.write_text(FILES[ending])
    config, _ = parse("--config", str(file))
    plain = presets()["synthetic"]
    expected = replace(
        plain, adapt=replace(plain.adapt, epochs=3, rate=0.001), pretrain=replace(plain.pretrain, milestones=(1, 2))
    )
    assert config == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", "adapt: [", "is not YAML"),
        ("a.toml", "adapt = ", "is not TOML"),
        ("a.ini", "[adapt]", r"ends in \.json, \.yaml, \.yml, \.toml"),
        ("a.yaml", "- 3", "must hold an object of sections, got list"),
        ("a.toml", "[mvd]\nepochs = 3", "unknown setting 'mvd'"),
    ],
)
def test_a_settings_file_that_is_none_is_told(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        parse("--config", str(tmp_path / name))


def first_version(method, **changes):
    """Return settings as version 0.1 wrote them: all sections and fields for every method."""
    mmt, mvd = asdict(MMTRecipe()), asdict(MVDRecipe())
    data, run = mmt["data"] | mvd["data"], mmt["run"] | mvd["run"]
    whole = mmt | {"mvd": mvd["mvd"] | {"metric": "rank"}, "data": data, "run": run, "method": method, "preset": "x"}
    assert all(section in whole for section in FIRST_VERSION)
    return json.loads(json.dumps(whole | changes))


@pytest.mark.parametrize("recipe", [MMTRecipe(), MVDRecipe(), SourceRecipe()])
def test_settings_of_version_0_1_are_read(recipe):
    given = first_version(recipe.method, network={"arch": "resnet18"})
    config = from_dict(recipe, current(given, recipe))
    assert config.network.arch == "resnet18"
    assert config == replace(recipe, preset="x", network=replace(recipe.network, arch="resnet18"))


def test_a_section_that_a_method_does_not_know_is_refused_in_settings_of_today():
    with pytest.raises(UserError, match="unknown setting 'mvd'"):
        from_dict(MMTRecipe(), current({"mvd": {}}, MMTRecipe()))
