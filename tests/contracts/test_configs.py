"""Every option of every group composes into a configuration that the program accepts."""

from __future__ import annotations

import pytest
import yaml
from omegaconf import DictConfig, open_dict

from nasrun.config import plugins
from nasrun.config.catalogue import compose, conf_dir, groups
from nasrun.config.checks import all_faults, missing_places, unread_overrides
from nasrun.config.compose import to_typed
from nasrun.config.identity import signature
from nasrun.config.matching import mismatches
from nasrun.config.schema import RetrainCommandConfig, SearchConfig
from nasrun.errors import UsageError
from nasrun.testing.options import require_gloss
from tests.compose import composed, options

OPTIONS = [(group, option) for group in groups(conf_dir()) for option in options(group)]
CHOICES = [
    (group, option) for group, option in OPTIONS if group in compose("search", conf_dir()).choices
]
RECIPES = options("experiment")
# where the person's own data are, and which column counts
TO_BE_SAID = ("dataset.root=null", "dataset.file=null", "objective.column=null")


def check(config: DictConfig) -> SearchConfig:
    typed = to_typed(config, SearchConfig)
    found = [text for text in all_faults(typed) if not text.startswith(TO_BE_SAID)]
    assert found == []
    return typed


@pytest.mark.parametrize(("group", "option"), CHOICES, ids=lambda value: str(value))
def test_every_option_composes(group: str, option: str) -> None:
    """Whether it goes with the default options of the other groups is another question."""
    typed = to_typed(composed([f"{group}={option}"]), SearchConfig)
    apart = set(mismatches(typed))
    found = [text for text in all_faults(typed) if not text.startswith(TO_BE_SAID)]
    assert [text for text in found if text not in apart] == []


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: str(value))
def test_every_option_says_what_it_is(group: str, option: str) -> None:
    require_gloss(group, option)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_only_chooses_options_so_that_the_command_line_wins(recipe: str) -> None:
    chosen = [f"experiment={recipe}", "budget=smoke", "retrain=smoke", "dataset=digits"]
    config = check(composed(chosen))
    assert (config.budget.epochs, config.retrain.epochs) == (3, 2)
    content = yaml.safe_load((conf_dir() / "experiment" / f"{recipe}.yaml").read_text())
    assert set(content) <= {"defaults", "hydra"}
    for entry in content["defaults"]:  # another recipe, or the choice of a group
        assert (
            entry in RECIPES
            if isinstance(entry, str)
            else next(iter(entry)).startswith("override /")
        )
    sweep = content.get("hydra", {"sweeper": {"params": {}}})  # for -m, where the command line wins
    assert (list(sweep), list(sweep["sweeper"])) == (["sweeper"], ["params"])


def test_what_a_search_never_reads_depends_on_its_evaluator() -> None:
    epochs = ["strategy=random", "budget.epochs=9"]
    assert list(unread_overrides(composed(epochs), epochs))
    epochs.append("evaluator=shared_weights")
    assert list(unread_overrides(composed(epochs), epochs)) == []


def test_paper_sizes_of_egnas_on_cifar() -> None:
    config = check(composed(["experiment=egnas_cifar10"]))
    strategy = config.strategy
    assert (strategy["num_epochs"], strategy["num_starts"], strategy["batch_size"]) == (50, 5, 256)
    assert (strategy["population_size"], strategy["xi"]) == (25, 0.6)
    assert (strategy["zeta"], strategy["eta"]) == (1.0, 0.4)
    assert round(strategy["warmup"] * 50) == 15
    assert (config.space["channels"], config.space["cells"]) == (16, 8)
    assert (config.retrain.epochs, config.retrain.channels, config.retrain.cells) == (600, 36, 20)


def test_paper_sizes_of_egnas_on_imagenet() -> None:
    config = check(composed(["experiment=egnas_imagenet"]))
    strategy = config.strategy
    assert (strategy["num_epochs"], strategy["num_starts"], strategy["batch_size"]) == (50, 5, 1024)
    assert (strategy["population_size"], strategy["learning_rate"]) == (50, 0.5)
    assert (config.space["channels"], config.space["cells"], config.space["stem"]) == (
        16, 8, "imagenet",
    )  # fmt: skip
    assert (config.dataset["search_train"], config.dataset["search_validation"]) == (0.1, 0.025)
    retrain = config.retrain
    assert (retrain.epochs, retrain.batch_size, retrain.channels, retrain.cells) == (
        250,
        1024,
        48,
        14,
    )
    assert (retrain.learning_rate, retrain.schedule, retrain.warmup_epochs) == (0.5, "linear", 5)
    assert (retrain.momentum, retrain.weight_decay, retrain.label_smoothing) == (0.9, 3e-5, 0.1)
    assert (retrain.auxiliary_weight, retrain.stem, retrain.drop_path) == (0.4, "imagenet", 0.0)


def test_the_recipe_of_a_transfer_is_one_of_retrain() -> None:
    chosen = ["experiment=egnas_imagenet_transfer", "genotype=x", "space=darts"]
    config = to_typed(composed(chosen, "retrain"), RetrainCommandConfig)
    assert (config.dataset["name"], config.retrain.epochs, config.retrain.cells) == (
        "imagenet", 250, 14,
    )  # fmt: skip
    config = to_typed(composed([*chosen, "retrain=smoke"], "retrain"), RetrainCommandConfig)
    assert config.retrain.epochs == 2


def test_null_population_is_the_strategys_own() -> None:
    assert check(composed()).strategy["population_size"] == 16
    assert check(composed(["population=paper"])).strategy["population_size"] == 25
    assert check(composed(["population.size=3"])).strategy["population_size"] == 3


def test_every_fault_of_a_configuration_is_told_at_once() -> None:
    config = to_typed(composed(["fitness.eta=nan", "seed=-1", "retrain.stem=vit"]), SearchConfig)
    assert set(all_faults(config)) == {
        "fitness.eta=nan is not a finite number",
        "seed=-1 must be at least 0",
        "retrain.stem=vit must be cifar or imagenet or null",
    }


def test_wrong_types_and_names_of_plugin_keys_are_named() -> None:
    node = dict(to_typed(composed(["strategy.sigma=wide"]), SearchConfig).strategy)
    node["sigmma"] = 1
    assert list(plugins.faults(node, "strategy")) == [
        "strategy.sigma=wide must be a number",
        "strategy.sigmma does not exist; did you mean sigma or sigma_start or similarity?",
    ]


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "nasrunx.spaces.Darts"])
def test_foreign_targets_are_refused(target: str) -> None:
    node = {"_target_": target}
    assert next(plugins.faults(node, "space")).startswith(f"space._target_={target} is refused")
    with pytest.raises(UsageError, match="is refused"):
        plugins.build({"_target_": "nasrun.spaces.darts.Darts", "inner": node})


def test_keys_that_the_strategy_never_reads_are_refused() -> None:
    config = composed(["fitness.zeta=0.5", "budget.evaluations=9"])
    assert list(unread_overrides(config, ["fitness.zeta=0.5", "seed=1", "budget=smoke"])) == []
    (sentence,) = unread_overrides(config, ["budget.evaluations=9"])
    assert sentence.startswith("budget.evaluations=9: the strategy EGNAS never reads")


def test_choices_of_genes_that_the_space_does_not_have_are_refused() -> None:
    words = ["space.learning_rates=[0.1,0.2]", "space.widths=[1,2]"]
    (sentence,) = unread_overrides(composed(["space=macro_cnn", *words]), words)
    assert sentence == (
        "space.learning_rates=[0.1,0.2]: space.training_genes=false, so nothing reads "
        "space.learning_rates; type space.training_genes=true"
    )
    with_genes = composed(["space=macro_cnn_training", *words])
    assert list(unread_overrides(with_genes, words)) == []


def test_signature_tells_runs_apart_and_ignores_the_label() -> None:
    def of(*overrides: str) -> str:
        return signature(to_typed(composed(overrides), SearchConfig))

    assert of() == of("name=again")
    assert len({of(), of("seed=1"), of("fitness.eta=0.3"), of("space=nasbench201")}) == 4


def test_retrain_composes() -> None:
    config = to_typed(composed(["genotype=x", "space=darts"], "retrain"), RetrainCommandConfig)
    assert list(all_faults(config)) == []


def test_retraining_recipes_of_the_papers() -> None:
    darts = check(composed(["retrain=darts600"])).retrain
    assert (darts.epochs, darts.batch_size, darts.channels, darts.cells) == (600, 96, 36, 20)
    assert (darts.learning_rate, darts.momentum, darts.weight_decay) == (0.025, 0.9, 3e-4)
    assert (darts.gradient_clip, darts.auxiliary_weight, darts.drop_path) == (5.0, 0.4, 0.2)
    assert (darts.cutout, darts.label_smoothing, darts.nesterov) == (True, 0.0, False)
    table = check(composed(["retrain=nasbench201"])).retrain
    assert (table.epochs, table.batch_size, table.channels, table.cells) == (200, 256, 16, 5)
    assert (table.learning_rate, table.nesterov, table.weight_decay) == (0.1, True, 5e-4)
    assert (table.cutout, table.gradient_clip, table.label_smoothing) == (False, 0.0, 0.0)


@pytest.mark.parametrize(("group", "node"), [("objective", True), ("strategy", 3), ("dataset", {})])
def test_what_is_no_node_is_told(group: str, node: object) -> None:
    """As in a record that somebody has changed; found by fuzz --seed 181732121."""
    config = composed(["space=toy"])
    with open_dict(config):
        config[group] = node
    typed = to_typed(config, SearchConfig)
    assert f"{group} needs a _target_: " in next(all_faults(typed))
    assert list(missing_places(typed)) == []
