"""Say in one sentence what Hydra and OmegaConf mean when they cannot compose a configuration.

Their messages name paths and internals; what a user needs is the word that was wrong and what to
type instead. Messages are those of hydra-core 1.3.8 and omegaconf 2.3. This module is imported when
an error has happened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields

import yaml
from hydra.errors import (
    CompactHydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from nasrun.config import catalogue, suggestions
from nasrun.config.checks import all_faults
from nasrun.config.commands import COMMANDS
from nasrun.config.compose import compose, to_typed
from nasrun.config.schema import PARTS, SCHEMAS, RunConfig
from nasrun.errors import UsageError, closest, enumerated, is_of_hydra, one_line, together
from nasrun.genotypes.published import published_cells

USER_MISTAKES = (
    CompactHydraException,
    InterpolationResolutionError,
    MissingMandatoryValue,
    ValidationError,
    yaml.YAMLError,
)
BARE = (ValueError, TypeError, OverflowError, AssertionError)  # what they let escape
KEYLESS = re.compile(r"[+~]*(@[^=]*)?=")  # Hydra takes these for overrides of a group without name
EXTRAS = {  # launchers, and what installs them
    "joblib": "parallel",
    "submitit_slurm": "slurm",
    "submitit_local": "slurm",
    "ray": "ray",
}
TYPES = {
    "Float": "a number",
    "Integer": "a whole number",
    "Boolean": "true or false",
    "String": "a text",
}


def sentence(error: Exception, arguments: Sequence[str]) -> str | None:
    """Return what the user should read, or `None` where the error is a fault of ours.

    `arguments` are the words of the command line, the command first.
    """
    unusable = [word for word in arguments[1:] if not _may_name_a_file(word)]
    if isinstance(error, ValueError) and unusable:
        return f"{unusable[0]!r} holds a letter that no name can have"
    if isinstance(error, (RecursionError, *BARE)) and not is_of_hydra(error):
        return None
    if isinstance(error, RecursionError):
        return "an override or a configuration is nested too deeply"
    keyless = [word for word in arguments[1:] if KEYLESS.match(word)]
    if isinstance(error, AssertionError) and keyless:
        word = one_line(keyless[0])
        return f"'{word}' has no key before the =: overrides are key=value or group=option"
    if str(error).startswith("Config group override must be a string or a list"):
        number = _number_for_a_group(arguments)
        if number is not None:
            return number
    if isinstance(error, BARE) and not isinstance(error, USER_MISTAKES):
        if emptied := [word for word in arguments[1:] if _empties_a_group(word)]:
            return _emptied_group(emptied[0])
        named = re.search(r"full_key: (\S+)", str(error))
        where = f"{named[1]}: " if named else "the configuration cannot be composed: "
        return f"{where}{_first_lines(str(error))}"
    if isinstance(error, InstantiationException) or not isinstance(error, USER_MISTAKES):
        return None
    if isinstance(error, MissingConfigException):
        return _missing_config(error)
    if isinstance(error, OverrideParseException):
        return _not_understood(error.override, arguments[0])
    return _cannot_be_composed(error, arguments)


def _cannot_be_composed(error: Exception, arguments: Sequence[str]) -> str:
    """Return what is meant by an error of the composition that says it in its text."""
    text = str(error)
    group_or_key = re.match(r"Could not override '([^']+)'", text)
    if group_or_key:
        return _unknown(group_or_key[1], error, arguments)
    recipe = re.match(r"In '(\w+)/(\w+)': Could not override '([^']+)'", text)
    if recipe:
        command = f"nasrun {arguments[0]}"
        return f"{recipe[1]}={recipe[2]} is none of {command}, which has no group {recipe[3]}"
    cause = error.__cause__ or error
    merging = re.match(r"Error merging override (.*)", text)
    added = re.match(r"Key '[^']*' not in '\w+'", str(cause))
    if added and isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        return _unknown(str(cause.full_key), error, arguments)
    if isinstance(cause, ValidationError | ConfigKeyError | ConfigAttributeError):
        first = _wrong_value(merging[1] if merging else "", cause)
        wrong = dict(_wrong_types(arguments[1:]))
        left = [word for word in arguments[1:] if word not in {*wrong, merging and merging[1]}]
        return together([first, *wrong.values(), *_other_faults(arguments[0], left)])
    ambiguous = re.match(r"Ambiguous value for argument '(.*)'", text)
    if ambiguous:
        key, _, value = ambiguous[1].partition("=")
        return (
            f"{ambiguous[1]} has several values: add -m to run each of them, "
            f"or write '{key}=[{value}]' for one list"
        )
    return _first_lines(text or str(cause))


def _number_for_a_group(arguments: Sequence[str]) -> str | None:
    root = catalogue.conf_dir()
    chosen = catalogue.chosen_options(arguments, root)
    known = catalogue.compose(COMMANDS[arguments[0]].config, root)
    for word in arguments:
        key, _, value = word.partition("=")
        if key in chosen and not re.fullmatch(r"[A-Za-z_][\w,]*|null", value):
            return suggestions.for_number(word, known, root)
    return None


def _may_name_a_file(word: str) -> bool:
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:  # half of a pair of UTF-16
        return False


def _empties_a_group(word: str) -> bool:
    group, _, option = word.partition("=")
    return option == "null" and group in catalogue.groups(catalogue.conf_dir())


def _emptied_group(word: str) -> str:
    group = word.partition("=")[0]
    names = [one.name for one in catalogue.options(group, catalogue.conf_dir())]
    return f"{word} is not possible: leave {group} out, or choose {enumerated(names, 'or')}"


def _not_understood(override: str, command: str) -> str:
    """Say so of a word that is no override; most are a value whose key was left out."""
    text = f"'{one_line(override)}' is not understood: overrides are key=value or group=option"
    if "=" not in override:
        meant = list(_with_its_key(override, command))
        return f"{text}; did you mean {' or '.join(meant)}?" if meant else text
    return (
        f"{text}, and a value with spaces, commas, brackets or equal signs is quoted: "
        "'key=\"a value\"'"
    )


def _with_its_key(word: str, command: str) -> Iterator[str]:
    """Yield what a value could have been meant for: an option, a genotype, a run."""
    root = catalogue.conf_dir()
    known = catalogue.compose(COMMANDS[command].config, root)
    for group in known.choices:
        for option in catalogue.options(group, root, known.choices):
            if option.name.casefold() == word.casefold():
                yield f"{group}={option.name}"
    if command == "retrain":
        names = [name for name in published_cells() if name.casefold() == word.casefold()]
        found = names or ([word] if os.path.exists(word) else [])
        yield from (f"genotype={one}" for one in found)
    elif os.path.isfile(os.path.join(word, "run.json")):
        yield f"--from {word}"


def not_installed(launcher: str) -> str:
    """Say what to type for a launcher of `EXTRAS`."""
    return (
        f"hydra/launcher={launcher} is not installed: type python -m pip install -e "
        f"'.[{EXTRAS[launcher]}]' in the copy of the repository"
    )


def _missing_config(error: MissingConfigException) -> str:
    name = error.missing_cfg_file or ""
    known = [one for one in catalogue.groups(catalogue.conf_dir()) if name.startswith(f"{one}/")]
    group = known[0] if known else name.rpartition("/")[0]
    option = name.removeprefix(f"{group}/")
    if group == "hydra/launcher" and option in EXTRAS:
        return not_installed(option)
    if error.options is not None:
        told = f"{group}={option} does not exist; {closest(option, error.options)}"
        if group == "dataset" and "/" in option:
            told += f"; a folder of pictures is dataset=imagefolder dataset.root={option}"
        return told
    return _first_lines(str(error).partition("Config search path:")[0])


def _unknown(name: str, error: Exception, arguments: Sequence[str]) -> str:
    """Say what is wrong with an override whose key or group the composed configuration lacks."""
    root = catalogue.conf_dir()
    primary = COMMANDS[arguments[0]].config
    known = catalogue.compose(primary, root, catalogue.chosen_options(arguments, root))
    if name in known.choices:
        default = catalogue.compose(primary, root)
        chosen = default.choices[name] or catalogue.options(name, root)[0].name
        example = next((key for key in default.keys if key.startswith(f"{name}.")), f"{name}.KEY")
        return (
            f"{name} takes the name of an option, such as {name}={chosen}; its keys are set one "
            f"by one, such as {example}=..."
        )
    if name in catalogue.groups(root):
        # spelt right, so that a group of a similar name is not what is meant
        return f"nasrun {arguments[0]} has no group {name}; {closest('', known.choices)}"
    if name.startswith("hydra."):
        return f"{name} does not exist; nasrun {arguments[0]} --cfg hydra shows Hydra's own keys"
    other = suggestions.of_other_command(name, arguments[0], root)
    if other:
        return f"nasrun {arguments[0]} has no {name}, nasrun {other} has it"
    node = name.rpartition(".")[0]
    option = known.choices.get(node)
    where = f" (with {node}={option})" if option else ""
    siblings = [key for key in known.keys if node and key.startswith(f"{node}.")]
    hint = closest(name, siblings) if siblings else suggestions.for_key(name, known)
    return f"{name} does not exist{where}; {hint}"


def _wrong_value(override: str, cause: Exception) -> str:
    text = _first_lines(str(cause))
    key = getattr(cause, "full_key", None) or "a value"
    typed = re.match(r"Value '(.*)' of type '.*' could not be converted to (\w+)", text)
    if typed:
        shown = override or f"{key}={typed[1]}"
        return f"{shown} is not {TYPES.get(typed[2], typed[2])}"
    return f"{override or key}: {text}"


def _other_faults(command: str, words: Sequence[str]) -> list[str]:
    """Return what is wrong besides the overrides that keep the configuration from being composed.

    None where it cannot be composed without them either, or is a sweep.
    """
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    schema = SCHEMAS.get(f"{COMMANDS[command].config}_schema")
    if schema is None:
        return []
    try:
        return list(all_faults(to_typed(compose(COMMANDS[command].config, overrides), schema)))
    except Exception as error:  # whatever it is, the first fault has been told
        return error.problems if isinstance(error, UsageError) else []


def _wrong_types(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each override that gives a fixed part a value of another type, and a sentence on it.

    Hydra stops at the first.
    """
    for word in words:
        key, _, text = word.partition("=")
        part, _, name = key.rpartition(".")
        schema = PARTS.get(part) if part else RunConfig
        chosen_or_swept = key in PARTS or "," in text
        if chosen_or_swept or schema is None or name not in (item.name for item in fields(schema)):
            continue
        try:
            OmegaConf.update(OmegaConf.structured(schema), name, yaml.safe_load(text))
        except ValidationError as error:
            yield word, _wrong_value(word, error)
        except (OmegaConfBaseException, yaml.YAMLError):
            continue


def _first_lines(text: str) -> str:
    """Return a message up to its first empty line, on one line, without OmegaConf's coordinates."""
    head = text.strip().partition("\n\n")[0].partition("\n    full_key:")[0]
    return " ".join(head.split())
